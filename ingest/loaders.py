"""From a file, or a folder of them, to `LoadedDocument`s."""

import os
from collections.abc import Callable
from pathlib import Path

from elysia_chat.ingest.document import Limits, LoadedDocument
from elysia_chat.ingest.errors import (
    DocumentError,
    EmptyFileError,
    LinkOutsideError,
    TooLargeError,
    UnknownTypeError,
    UnreadableFileError,
)
from elysia_chat.ingest.load_epub import load_epub
from elysia_chat.ingest.load_html import load_html
from elysia_chat.ingest.load_json import load_json, load_jsonl
from elysia_chat.ingest.load_office import load_docx, load_xlsx
from elysia_chat.ingest.load_pdf import load_pdf
from elysia_chat.ingest.load_tables import load_csv
from elysia_chat.ingest.load_text import load_markdown, load_text

Loader = Callable[[bytes, str, Limits], LoadedDocument]

_LOADERS: dict[str, Loader] = {
    ".md": load_markdown,
    ".markdown": load_markdown,
    ".txt": load_text,
    ".text": load_text,
    ".html": load_html,
    ".htm": load_html,
    ".xhtml": load_html,
    ".pdf": load_pdf,
    ".docx": load_docx,
    ".xlsx": load_xlsx,
    ".csv": load_csv,
    ".tsv": load_csv,
    ".json": load_json,
    ".jsonl": load_jsonl,
    ".ndjson": load_jsonl,
    ".epub": load_epub,
}
SUPPORTED = tuple(_LOADERS)
"""The extensions that have a loader, in lower case, with the dot."""

_WINDOWS_JUNK = frozenset(("thumbs.db", "desktop.ini"))


def discover(folder: Path) -> dict[str, Path]:
    """List a folder's documents with those of its subfolders, without hidden ones.

    Links to folders are not followed: one that leads out of `folder` is listed, so that `load` refuses it by name.

    Returns:
        paths by their relative path with forward slashes, sorted.
    """
    found: dict[str, Path] = {}
    inside = folder.resolve()
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if (path := Path(parent, name)).is_symlink() and not _is_in(path, inside)]
        for name in (*files, *links):
            if not name.startswith(".") and name.lower() not in _WINDOWS_JUNK:
                path = Path(parent, name)
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items()))


def load(path: Path, limits: Limits | None = None, root: Path | None = None) -> LoadedDocument:
    """Read one document.

    Args:
        path: the file; its extension says what it is.
        limits: what it may cost.
        root: folder that it has to lie in once links are followed; unset: the folder that `path` names.

    Raises:
        FileNotFoundError: there is no such file.
        DocumentError: it cannot be read; the class says why, `document` is the file's name.
    """
    limits = limits or Limits()
    try:
        return parse(path.name, read_file(path, limits, root), limits)
    except DocumentError as error:
        error.document = path.name
        raise


def read_file(path: Path, limits: Limits, root: Path | None = None) -> bytes:
    """Return a file's content, after the checks that need no parser.

    Raises:
        FileNotFoundError: there is no such file.
        DocumentError: unknown extension, a link out of `root`, over the size limit, no permission.
    """
    if not _is_in(path, (root or path.parent).resolve()):
        msg = "is a link that leads out of its folder; put a copy there instead"
        raise LinkOutsideError(msg)
    if path.suffix.lower() not in _LOADERS:
        msg = f"has a type that is not known ('{path.suffix}'); known: {' '.join(SUPPORTED)}"
        raise UnknownTypeError(msg)
    try:
        if not path.is_file():
            _refuse_special(path)
        with path.open("rb") as file:
            data = file.read(limits.file_bytes + 1)
    except FileNotFoundError:
        raise
    except OSError as error:
        msg = f"cannot be opened ({error.strerror or error}); check its permissions"
        raise UnreadableFileError(msg) from error
    if len(data) > limits.file_bytes:
        msg = f"is larger than {limits.file_bytes / 1e6:g} MB (ingest.max_file_mb); split it or raise the limit"
        raise TooLargeError(msg)
    return data


def parse(name: str, data: bytes, limits: Limits) -> LoadedDocument:
    """Read a document from its bytes; the extension of `name` says what they are.

    Raises:
        DocumentError: they cannot be read, or there is no text in them.
    """
    if not data.strip():
        msg = "is empty" if not data else "holds nothing but white space"
        raise EmptyFileError(msg)
    path = Path(name)
    document = _LOADERS[path.suffix.lower()](data, path.stem, limits)
    if not any(section.text.strip() for section in document.sections):
        msg = "holds headings and nothing under them" if document.sections else "holds no text"
        raise EmptyFileError(msg)
    return document


def _refuse_special(path: Path) -> None:
    """Keep devices and pipes, whose reading may never end, from being opened."""
    if path.is_symlink() and not path.exists():
        msg = "is a link to a file that is not there"
        raise UnreadableFileError(msg)
    path.stat()
    msg = "is not a regular file"
    raise UnreadableFileError(msg)


def _is_in(path: Path, folder: Path) -> bool:
    try:
        return path.resolve().is_relative_to(folder)
    except (OSError, RuntimeError):  # a loop of links
        return False
