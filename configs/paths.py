"""The data folder: built indexes, converted models, the user's personas and conversations.

It lies outside the repository. `ELYSIA_CHAT_HOME` overrides the platform's usual place.
"""

import os
from pathlib import Path

from elysia_chat.configs.errors import FolderNotWritableError

HOME_VARIABLE = "ELYSIA_CHAT_HOME"


def home() -> Path:
    """Return the data folder; it may not exist yet."""
    override = os.environ.get(HOME_VARIABLE)
    if override:
        return Path(override).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("elysia-chat", appauthor=False))


def index_dir(persona: str) -> Path:
    """Return the folder of a persona's index: vectors, words and manifest."""
    return home() / "index" / persona


def models_dir() -> Path:
    """Return the folder of converted models."""
    return home() / "models"


def voices_dir() -> Path:
    """Return the folder of the voices, one folder each."""
    return home() / "voices"


def user_persona_dir(persona: str) -> Path:
    """Return the folder with the user's own files of a persona."""
    return home() / "personas" / persona


def ensure_dir(path: Path) -> Path:
    """Create a folder with its parents and check that it can be written.

    Raises:
        FolderNotWritableError: it cannot be created or written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise FolderNotWritableError(_not_writable(path, error)) from error
    if not os.access(path, os.W_OK | os.X_OK):
        raise FolderNotWritableError(_not_writable(path, None))
    return path


def _not_writable(path: Path, error: OSError | None) -> str:
    why = f" ({error.strerror})" if error and error.strerror else ""
    return f"Cannot write to {path}{why}. Make it writable, or set {HOME_VARIABLE} to another folder."
