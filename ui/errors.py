"""What can go wrong in a front end.

ElysiaChatError
└── FrontEndError
    ├── PortTakenError          something else listens on the port
    ├── AddressUnusableError    the address is not one of this machine, or may not be listened on
    ├── MissingPathError        a file or folder to be taken into the lore is not there
    ├── OutputFileError         a file cannot be written
    └── PlaybackError           sound cannot be played on this machine
"""

from elysia_chat.configs.errors import ElysiaChatError


class FrontEndError(ElysiaChatError):
    """The root of this folder's errors."""


class PortTakenError(FrontEndError):
    """Something else listens on the port."""


class AddressUnusableError(FrontEndError):
    """The page cannot listen on the address that is set."""


class MissingPathError(FrontEndError):
    """A file or folder to be taken into the lore is not there."""


class OutputFileError(FrontEndError):
    """A file that the user asked for cannot be written."""


class PlaybackError(FrontEndError):
    """There is no program that plays sound, or it fails."""
