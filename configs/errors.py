"""The root of every error that a user may read.

    ElysiaChatError
    ├── SettingsError            an unknown or contradictory setting
    ├── FolderNotWritableError   the data folder cannot be written
    └── …                        each folder has its own tree in its errors.py

The message is one line: what is wrong, and what to do about it. `--debug` shows the traceback with the cause.
"""


class ElysiaChatError(Exception):
    """Something the user can understand and mend; `str(error)` is one clear line."""


class SettingsError(ElysiaChatError):
    """A setting is unknown, has a wrong value, or contradicts another."""


class FolderNotWritableError(ElysiaChatError):
    """A folder that has to be written cannot be."""
