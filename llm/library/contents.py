"""What the data folder holds: models and adapters, found by name, and removed."""

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.llm.adapter_files import is_adapter
from elysia_chat.llm.embedded import NAME as EMBEDDED
from elysia_chat.llm.errors import LibraryError
from elysia_chat.llm.library.record import Record, read_record

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,99}")


@dataclass(frozen=True)
class Entry:
    """A model or an adapter in the data folder.

    Attributes:
        name: of its folder.
        kind: what it is.
        folder: where it is.
        bytes: of its files.
        record: of how it came here; None where it was put there by hand or by training.
    """

    name: str
    kind: Literal["model", "adapter"]
    folder: Path
    bytes: int
    record: Record | None


def entries() -> list[Entry]:
    """Return the models and adapters in the data folder, by name."""
    if not models_dir().is_dir():
        return []
    folders = sorted(path for path in models_dir().iterdir() if path.is_dir() and not path.name.startswith("."))
    return [entry for entry in map(entry_of, folders) if entry is not None]


def entry_of(folder: Path) -> Entry | None:
    """Return what a folder holds; None where that is neither a language model nor an adapter."""
    kind: Literal["model", "adapter"]
    if is_adapter(folder):
        kind = "adapter"
    # Embedding models lie beside the language models, and bring modules.json.
    elif (folder / "config.json").is_file() and not (folder / "modules.json").exists():
        kind = "model"
    else:
        return None
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    return Entry(folder.name, kind, folder, size, read_record(folder))


def find(name: str) -> Entry:
    """Return the model or adapter of this name.

    Raises:
        LibraryError: there is none; the message lists the known names.
    """
    known = entries()
    found = next((entry for entry in known if entry.name == name), None)
    if found is None:
        names = ", ".join(entry.name for entry in known) or "none"
        msg = f"There is no model or adapter '{name}' in {models_dir()}; there: {names}."
        raise LibraryError(msg)
    return found


def find_base(name: str) -> Entry | None:
    """Return the model that an adapter calls its base: by the last part of its name here, or at its source."""
    wanted = _last_part(name)
    models = [entry for entry in entries() if entry.kind == "model"]
    by_name = (entry for entry in models if entry.name.casefold() == wanted)
    by_source = (entry for entry in models if entry.record and entry.record.short_name.casefold() == wanted)
    return next(by_name, None) or next(by_source, None)


def find_source(source: str) -> Entry | None:
    """Return the model that was brought in from this name on a hub; None where there is none."""
    known = (entry for entry in entries() if entry.kind == "model" and entry.record is not None)
    return next((entry for entry in known if entry.record is not None and entry.record.source == source), None)


def check_name(name: str) -> None:
    """Check that something new can have this name.

    Raises:
        LibraryError: it is no name of a folder, or is taken.
    """
    if not _NAME.fullmatch(name) or name.endswith("."):
        msg = f"'{name}' cannot be a name: give letters, digits, '.', '_' and '-' with --name."
        raise LibraryError(msg)
    if name == EMBEDDED or (models_dir() / name).exists():
        msg = f"There is a '{name}' already: give another name with --name, or remove it first (models remove {name})."
        raise LibraryError(msg)


def remove(name: str) -> Entry:
    """Delete a model or adapter from the data folder.

    Returns:
        What was there.

    Raises:
        LibraryError: there is none of this name, or it cannot be deleted.
    """
    entry = find(name)
    with locked(name):
        gone = models_dir() / f".{name}.removed"
        try:
            if gone.exists():
                shutil.rmtree(gone)
            entry.folder.rename(gone)
            shutil.rmtree(gone)
        except OSError as error:
            msg = f"Cannot delete {entry.folder}: {error.strerror or error}."
            raise LibraryError(msg) from error
    return entry


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold a name, so that one process at a time brings in or removes what is called so.

    Raises:
        LibraryError: another process has held it for too long.
        FolderNotWritableError: the data folder cannot be written.
    """
    import filelock

    lock = filelock.FileLock(ensure_dir(models_dir()) / f".{name}.lock")
    try:
        with lock.acquire(timeout=1):
            yield
    except filelock.Timeout as error:
        msg = f"Another process is working on '{name}' right now: wait for it to end."
        raise LibraryError(msg) from error


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()
