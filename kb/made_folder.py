"""A folder that is made once from something else: complete or not there, also when several processes ask at once."""

import json
from collections.abc import Callable, Collection
from pathlib import Path

from filelock import FileLock

from elysia_chat.configs.files import fresh_folder
from elysia_chat.configs.paths import ensure_dir

STAMP = "conversion.json"


def made_folder(folder: Path, stamp: dict[str, str], needed: Collection[str], make: Callable[[Path], None]) -> Path:
    """Return a folder, after making it where it is missing, incomplete, or made of something else.

    Args:
        folder: where it belongs.
        stamp: written into it as conversion.json; its `identity` says what it is made of.
        needed: files without which it is incomplete.
        make: writes them into an empty folder.

    Raises:
        FolderNotWritableError: its parent cannot be written.
    """
    if is_made(folder, stamp["identity"], needed):
        return folder
    parent = ensure_dir(folder.parent)
    with FileLock(parent / f".{folder.name}.lock"):
        if not is_made(folder, stamp["identity"], needed):
            with fresh_folder(folder) as (fresh, finish):
                make(fresh)
                (fresh / STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
                finish()
    return folder


def is_made(folder: Path, identity: str, needed: Collection[str]) -> bool:
    """Tell whether a folder is complete, and made of what the identity says."""
    if not all((folder / name).is_file() for name in (*needed, STAMP)):
        return False
    try:
        return bool(json.loads((folder / STAMP).read_text(encoding="utf-8"))["identity"] == identity)
    except (ValueError, KeyError, TypeError):
        return False
