"""Results that appear whole or not at all: written beside their place and renamed into it."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from elysia_chat.configs.errors import ElysiaChatError

_ROOM = 1.05
_FULL = ("No space left", "os error 28", "PytorchStreamWriter failed", "unexpected pos")


def check_free(place: Path, needed: int, error_type: type[ElysiaChatError]) -> None:
    """Check that the disk has room for `needed` bytes and five percent more.

    Raises:
        error_type: it has not; the message says how much is there.
    """
    there = next(folder for folder in (place, *place.resolve().parents) if folder.is_dir())
    free = shutil.disk_usage(there).free
    if free < needed * _ROOM:
        msg = f"{place} needs {needed * _ROOM / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free."
        raise error_type(msg)


def check_target(output: Path, overwrite: bool, error_type: type[ElysiaChatError]) -> None:
    """Check that nothing is at `output`, or that it may be replaced.

    Raises:
        error_type: something is there, or its place is no folder.
    """
    if (output.exists() and not overwrite) and not (output.is_dir() and not any(output.iterdir())):
        msg = f"{output} exists already: choose another name, or allow it to be overwritten."
        raise error_type(msg)


@contextmanager
def fresh_folder(output: Path) -> Iterator[tuple[Path, Callable[[], None]]]:
    """Give a folder to fill beside `output`, and a function that puts it there once it is complete.

    What was at `output` stays as it was until then, and comes back if the renaming fails. Whatever is left is removed.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        fresh = Path(temporary) / output.name
        fresh.mkdir()

        def finish() -> None:
            replaced = Path(temporary) / "replaced"
            if output.exists():
                output.rename(replaced)
            try:
                fresh.rename(output)
            except OSError:
                if replaced.exists():
                    replaced.rename(output)
                raise

        yield fresh, finish


def write_text(path: Path, text: str) -> None:
    """Write a text file in UTF-8 so that a reader sees the old content or the new, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def disk_problem(error: BaseException) -> str | None:
    """Say in a few words why something could not be written; None where the error is of another kind.

    torch and safetensors report a full disk as errors of their own.
    """
    from safetensors import SafetensorError

    text = str(error)
    if getattr(error, "errno", None) == 28 or any(sign in text for sign in _FULL):
        return "the disk is full"
    if isinstance(error, (OSError, SafetensorError)):
        return str(getattr(error, "strerror", None) or text or type(error).__name__).splitlines()[0]
    return None


@contextmanager
def writing_errors(target: Path, error_type: type[ElysiaChatError]) -> Iterator[None]:
    """Turn a full disk or a folder that cannot be written into one line; nothing at `target` has changed then."""
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        why = disk_problem(error)
        msg = f"Cannot write {target}: {why}. Nothing there was changed; free some space or choose another place."
        raise error_type(msg) from error
