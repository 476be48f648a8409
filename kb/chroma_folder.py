"""Chroma's folder on this machine: one owner process, one client in it.

Chroma lets a second process open the same folder and then gives it stale answers (docs/retrieval.md has the
measurements), so a lock keeps it out. Within the process all knowledge bases of a folder share one client.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from elysia_chat.kb.errors import IndexDamagedError, IndexInUseError, StoreServerError
from elysia_chat.kb.index_names import damaged_message

if TYPE_CHECKING:
    from chromadb.api import ClientAPI

LOCK_NAME = "owner.lock"
LOCK_WAIT_S = 3.0
_FOLDER = "chroma"


@dataclass(slots=True)
class _Opened:
    client: "ClientAPI"
    lock: FileLock
    users: int = 1


_opened: dict[Path, _Opened] = {}
_registry = threading.Lock()


def acquire(folder: Path, persona: str) -> "ClientAPI":
    """Return this process's client of an index folder, opened on first use; give it back with `release`.

    Raises:
        IndexInUseError: another process has it open.
        IndexDamagedError: Chroma cannot read it.
    """
    key = folder.resolve()
    with _registry:
        if key in _opened:
            _opened[key].users += 1
            return _opened[key].client
        lock = _lock(key, persona)
        try:
            client = _persistent_client(key / _FOLDER, persona)
        except BaseException:
            lock.release()
            raise
        _opened[key] = _Opened(client, lock)
        return client


def release(folder: Path) -> None:
    """Give a client back; with the last user the folder is closed and its lock opened."""
    key = folder.resolve()
    with _registry:
        opened = _opened[key]
        opened.users -= 1
        if opened.users == 0:
            del _opened[key]
            opened.client.close()
            opened.lock.release()


@contextmanager
def exclusive(folder: Path, persona: str) -> Iterator[None]:
    """Hold an index folder that nobody has open, this process included.

    Raises:
        IndexInUseError: somebody has it open.
    """
    key = folder.resolve()
    with _registry:
        if key in _opened:
            msg = f"The index of '{persona}' is open. Close its conversations first."
            raise IndexInUseError(msg)
        lock = _lock(key, persona)
        try:
            yield
        finally:
            lock.release()


class chroma_errors:
    """Turn what Chroma raises into this folder's errors, as a context manager.

    Chroma's Rust core can panic on a store that it cannot read. The panic's class derives from `BaseException` and
    cannot be imported, so it is recognised by its name; every other `BaseException` passes.
    """

    def __init__(self, persona: str, server: str | None = None) -> None:
        self._persona = persona
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not (_is_panic(error) or isinstance(error, _chroma_exceptions())):
            return
        if self._server is not None:
            msg = (
                f"The Chroma server at {self._server} does not answer as expected ({_first_line(error)}). "
                "Start it with 'chroma run', or set store.kind=chroma."
            )
            raise StoreServerError(msg) from error
        raise IndexDamagedError(damaged_message(self._persona, _first_line(error))) from error


def _chroma_exceptions() -> tuple[type[Exception], ...]:
    import chromadb.errors
    import httpx

    return (chromadb.errors.ChromaError, httpx.HTTPError, sqlite3.DatabaseError, ValueError, RuntimeError, KeyError)


def _is_panic(error: BaseException) -> bool:
    return (type(error).__module__, type(error).__name__) == ("pyo3_runtime", "PanicException")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0] or type(error).__name__


def _lock(folder: Path, persona: str) -> FileLock:
    lock = FileLock(folder / LOCK_NAME, thread_local=False)
    try:
        lock.acquire(timeout=LOCK_WAIT_S)
    except Timeout as error:
        msg = (
            f"Another process has the index of '{persona}' open. Close it (the page or a chat in another terminal), "
            "or let both use a Chroma server: store.kind=chroma-server."
        )
        raise IndexInUseError(msg) from error
    return lock


def _persistent_client(path: Path, persona: str) -> "ClientAPI":
    import chromadb
    from chromadb.config import Settings

    with chroma_errors(persona):
        return chromadb.PersistentClient(path=str(path), settings=Settings(anonymized_telemetry=False))
