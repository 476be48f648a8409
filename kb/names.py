"""Safe names: personas' slugs, and the paths of documents inside a persona's folder."""

import re
import unicodedata
from pathlib import Path, PurePosixPath

from elysia_chat.kb.errors import UnsafeNameError

MAX_SLUG = 64
MAX_FILENAME_BYTES = 200
_RESERVED = {"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(1, 10))}
_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f<>:"|?*\\/]')


def slugify(name: str) -> str:
    """Return a folder name for a persona: letters of any script, digits, '-' and '_', in lower case.

    Raises:
        UnsafeNameError: nothing is left of the name.
    """
    folded = unicodedata.normalize("NFKC", name).casefold()
    slug = re.sub(r"[^\w]+", "-", folded).strip("-_")[:MAX_SLUG].strip("-_")
    if not slug or slug in _RESERVED:
        msg = f"'{name}' cannot be the name of a persona: use letters or digits."
        raise UnsafeNameError(msg)
    return slug


def is_slug(name: str) -> bool:
    """Tell whether a name can be a persona's folder as it stands."""
    try:
        return slugify(name) == name
    except UnsafeNameError:
        return False


def safe_filename(name: str) -> str:
    """Return the last part of an uploaded file's name, made safe for every file system; Chinese stays.

    Raises:
        UnsafeNameError: nothing is left of the name.
    """
    last = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    printable = "".join(char for char in last if unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    clean = re.sub(r"\s+", " ", _FORBIDDEN.sub("_", printable)).strip(" .")
    stem, dot, extension = clean.rpartition(".")
    if not dot:
        stem, extension = clean, ""
    if not re.search(r"\w", stem) or stem.split(".")[0].casefold() in _RESERVED:
        msg = f"'{name}' cannot be a document's name: give the file a name of letters or digits."
        raise UnsafeNameError(msg)
    stem = _shorten(stem, MAX_FILENAME_BYTES - len(extension.encode()) - 1)
    return f"{stem}.{extension}" if extension else stem


def safe_relative_path(path: str) -> str:
    """Check the relative path of a document and return it with forward slashes.

    Raises:
        UnsafeNameError: it is absolute, climbs out with '..', or is empty.
    """
    parts = path.replace("\\", "/").split("/")
    climbs = any(part in ("", ".", "..") for part in parts)
    if climbs or ":" in parts[0] or "\x00" in path:
        msg = f"'{path}' is not a document of the persona: give a relative path without '..'."
        raise UnsafeNameError(msg)
    return str(PurePosixPath(*parts))


def inside(path: Path, folder: Path) -> bool:
    """Tell whether a path, once links are followed, lies in a folder."""
    try:
        return path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        return False


def _shorten(text: str, limit: int) -> str:
    while len(text.encode()) > limit:
        text = text[:-1]
    return text.rstrip(" .")
