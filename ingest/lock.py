"""One writer at a time for each index."""

import getpass
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.ingest.errors import IngestBusyError


@contextmanager
def single_writer(manifest_path: Path) -> Iterator[None]:
    """Hold the index's lock, which the system frees when the process ends, however it ends.

    Raises:
        IngestBusyError: another run holds it; the message says which process, of whom, since when.
        FolderNotWritableError: the index's folder cannot be written.
    """
    import filelock

    ensure_dir(manifest_path.parent)
    lock = filelock.FileLock(manifest_path.with_name(f"{manifest_path.name}.lock"), timeout=0, is_singleton=False)
    owner = manifest_path.with_name(f"{manifest_path.name}.owner")
    try:
        lock.acquire()
    except filelock.Timeout as error:
        msg = f"This index is being written by {_describe(owner)}. Wait until that run is done, or stop it."
        raise IngestBusyError(msg) from error
    try:
        _write_owner(owner)
        yield
    finally:
        owner.unlink(missing_ok=True)
        lock.release()


def _write_owner(path: Path) -> None:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # no name for this user id
        user = "?"
    owner = {"pid": os.getpid(), "host": socket.gethostname(), "user": user, "since": time.time()}
    draft = path.with_name(f"{path.name}.new")
    draft.write_text(json.dumps(owner), encoding="utf-8")
    draft.replace(path)


def _describe(path: Path) -> str:
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(owner["since"]))
        return f"process {owner['pid']} of {owner['user']} on {owner['host']} since {since}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another run"
