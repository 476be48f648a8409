"""Takes files and folders of the user's into a persona's lore."""

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.ui.errors import MissingPathError

if TYPE_CHECKING:
    from elysia_chat.ingest.document import Limits
    from elysia_chat.kb.personas import Persona


def add_paths(persona: "Persona", paths: Sequence[Path], limits: "Limits") -> list[tuple[str, str]]:
    """Copy documents into the user's lore folder of a persona; one of the same relative path is replaced.

    A folder's documents keep their paths within it. Each is read first, so that one nobody can read is refused here
    and does not fail again in every later run.

    Args:
        persona: whose lore.
        paths: files and folders.
        limits: what a file may cost.

    Returns:
        the refused ones, each with its reason.

    Raises:
        MissingPathError: one of the paths does not exist; nothing has been copied then.
        FolderNotWritableError: the data folder cannot be written.
    """
    from elysia_chat.ingest.errors import DocumentError
    from elysia_chat.ingest.loaders import parse, read_file
    from elysia_chat.kb.errors import UnsafeNameError

    for path in paths:
        if not path.exists():
            msg = f"There is no file or folder '{path}'."
            raise MissingPathError(msg)
    refused: list[tuple[str, str]] = []
    for root, relative, path in _documents(paths):
        try:
            content = read_file(path, limits, root)
            parse(path.name, content, limits)
            _write(persona, relative, content)
        except DocumentError as error:
            refused.append((relative, error.reason))
        except UnsafeNameError as error:
            refused.append((relative, str(error)))
        except FileNotFoundError:
            refused.append((relative, "vanished while it was read"))
    return refused


def _documents(paths: Sequence[Path]) -> Iterator[tuple[Path, str, Path]]:
    """Yield the folder that each document has to lie in, its path in the lore, and the file."""
    from elysia_chat.ingest.loaders import discover

    for path in paths:
        if path.is_dir():
            yield from ((path, relative, file) for relative, file in discover(path).items())
        else:
            # The user named this very file, so a link is followed.
            file = path.resolve()
            yield file.parent, path.name, file


def _write(persona: "Persona", relative: str, content: bytes) -> None:
    from elysia_chat.kb.names import safe_filename

    *folders, name = [safe_filename(part) for part in relative.split("/")]
    if not folders:
        persona.add_document(name, content)
        return
    folder = ensure_dir(persona.lore_folders[-1].joinpath(*folders))
    # Written elsewhere and renamed, so that a run that reads the folder meanwhile never sees a part.
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".", suffix=".part", delete=False) as draft:
        draft.write(content)
    Path(draft.name).replace(folder / name)
    if (target := "/".join((*folders, name))) in persona.removed_documents():
        persona.restore_document(target)
