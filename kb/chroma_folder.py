"""Chroma's folder on this machine: one owner process, one client in it.

Chroma lets a second process open the same folder and then gives it stale answers (docs/retrieval.md has the
measurements), so a lock keeps it out. Within the process all knowledge bases of a folder share one client.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from elysia_chat.kb.chroma_errors import ChromaErrors
from elysia_chat.kb.errors import IndexDamagedError, IndexInUseError

if TYPE_CHECKING:
    from chromadb.api import ClientAPI
    from chromadb.config import Settings

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


def chroma_settings(**fixed: str) -> "Settings":
    """Return Chroma's settings without telemetry, and without a `.env` that happens to lie in the current folder."""
    from chromadb.config import Settings

    return Settings(_env_file=None, anonymized_telemetry=False, allow_reset=False, **fixed)


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

    settings = chroma_settings(chroma_api_impl="chromadb.api.rust.RustBindingsAPI")
    try:
        with ChromaErrors(persona):
            return chromadb.PersistentClient(path=str(path), settings=settings)
    except IndexDamagedError:
        _forget(str(path))
        raise


def _forget(path: str) -> None:
    """Forget a client that failed to start: Chroma keeps it, and would take it up again for the same path."""
    from chromadb.api.shared_system_client import SharedSystemClient

    SharedSystemClient._identifier_to_system.pop(path, None)
    SharedSystemClient._identifier_to_refcount.pop(path, None)
