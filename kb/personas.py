"""Personas: who the character is, and the documents of the lore.

Bundled ones lie in `kb/personas/<name>/`, the user's in `<data folder>/personas/<name>/`, both with `card.json` (or
`card.png`), `picture.png` and `lore/`. A user's folder overlays the bundled one of the same name: its card and
picture replace the bundled ones, its documents win over bundled ones of the same relative path, and `removed.json`
lists the bundled documents that the user has removed.
"""

import json
import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from elysia_chat.configs.paths import ensure_dir, home, user_persona_dir
from elysia_chat.kb.card import CharacterCard, load_card
from elysia_chat.kb.errors import PersonaExistsError, UnknownDocumentError, UnknownPersonaError
from elysia_chat.kb.names import inside, is_slug, safe_filename, safe_relative_path, slugify

BUNDLED = Path(__file__).parent / "personas"
_CARDS = ("card.json", "card.png")
_PICTURES = ("picture.png", "picture.webp", "picture.jpg", "picture.svg", "card.png")
_LORE = "lore"
_REMOVED = "removed.json"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Persona:
    """A character with its lore.

    Attributes:
        name: the slug, which is also the folder's name.
        title: what people read.
        card: the character card.
        picture: a portrait, if there is one.
        lore_folders: where documents lie; a later folder wins for an equal relative path. The last is the user's.
    """

    name: str
    title: str
    card: CharacterCard
    picture: Path | None
    lore_folders: tuple[Path, ...]

    def documents(self) -> dict[str, Path]:
        """Return the documents of the lore by relative path (forward slashes), in order of path.

        Hidden files are left out, and so are links that lead out of their folder.
        """
        found: dict[str, Path] = {}
        removed = set(self.removed_documents())
        for folder in self.lore_folders:
            ours = folder == self._user_lore
            found.update({rel: path for rel, path in _files_in(folder) if ours or rel not in removed})
        return dict(sorted(found.items()))

    def removed_documents(self) -> list[str]:
        """Return the bundled documents that the user has removed and may restore."""
        try:
            listed = json.loads((self._user_folder / _REMOVED).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        except (OSError, ValueError) as error:
            _log.warning("Ignoring %s, which cannot be read: %s", self._user_folder / _REMOVED, error)
            return []
        return sorted(str(item) for item in listed) if isinstance(listed, list) else []

    def add_document(self, filename: str, content: bytes) -> str:
        """Write a document into the user's lore folder; one of the same name is replaced.

        Args:
            filename: as uploaded; only its last part is used, and that is made safe.
            content: the whole file.

        Returns:
            Its relative path.

        Raises:
            UnsafeNameError: nothing is left of the name once it is made safe.
            FolderNotWritableError: the data folder cannot be written.
        """
        relative = safe_filename(filename)
        folder = ensure_dir(self._user_lore)
        _write_atomically(folder / relative, content)
        self._write_removed([item for item in self.removed_documents() if item != relative])
        return relative

    def remove_document(self, relative: str) -> None:
        """Delete a document of the user's, or hide a bundled one until it is restored.

        Raises:
            UnsafeNameError: the path leaves the lore folder.
            UnknownDocumentError: there is no such document.
        """
        relative = safe_relative_path(relative)
        if relative not in self.documents():
            msg = f"'{self.name}' has no document '{relative}'."
            raise UnknownDocumentError(msg)
        own = self._user_lore / relative
        if own.is_file() and inside(own.parent, self._user_lore):
            own.unlink()
        if any((folder / relative).is_file() for folder in self._bundled_lore):
            self._write_removed(sorted({*self.removed_documents(), relative}))

    def restore_document(self, relative: str) -> None:
        """Bring a bundled document back that was removed.

        Raises:
            UnsafeNameError: the path leaves the lore folder.
            UnknownDocumentError: no such document was removed.
        """
        relative = safe_relative_path(relative)
        removed = self.removed_documents()
        if relative not in removed:
            msg = f"'{self.name}' has no removed document '{relative}'; removed: {', '.join(removed) or 'none'}."
            raise UnknownDocumentError(msg)
        self._write_removed([item for item in removed if item != relative])

    @property
    def _user_folder(self) -> Path:
        return self._user_lore.parent

    @property
    def _user_lore(self) -> Path:
        return self.lore_folders[-1]

    @property
    def _bundled_lore(self) -> tuple[Path, ...]:
        return self.lore_folders[:-1]

    def _write_removed(self, removed: list[str]) -> None:
        path = ensure_dir(self._user_folder) / _REMOVED
        if removed:
            _write_atomically(path, json.dumps(removed, ensure_ascii=False, indent=2).encode())
        else:
            path.unlink(missing_ok=True)


def list_personas() -> list[str]:
    """Return the names of all personas, bundled and the user's, in alphabetical order."""
    folders = (folder for root in (BUNDLED, home() / "personas") if root.is_dir() for folder in root.iterdir())
    return sorted({folder.name for folder in folders if is_slug(folder.name) and _first(folder, _CARDS)})


def load_persona(name: str) -> Persona:
    """Load a persona by its name.

    Raises:
        UnknownPersonaError: there is none of that name.
        CardError: its character card cannot be read.
    """
    if not is_slug(name) or name not in list_personas():
        msg = f"There is no persona '{name}'; known: {', '.join(list_personas()) or 'none'}."
        raise UnknownPersonaError(msg)
    bundled, own = BUNDLED / name, user_persona_dir(name)
    card_path = _first(own, _CARDS) or _first(bundled, _CARDS)
    if card_path is None:
        msg = f"The persona '{name}' has lost its card.json."
        raise UnknownPersonaError(msg)
    card = load_card(card_path)
    folders = (bundled / _LORE, own / _LORE) if bundled.is_dir() else (own / _LORE,)
    picture = _first(own, _PICTURES) or _first(bundled, _PICTURES)
    return Persona(name=name, title=card.data.name, card=card, picture=picture, lore_folders=folders)


def create_persona(name: str, card: CharacterCard | None = None) -> Persona:
    """Write a new persona into the user's folder: a card to edit, and a first document of lore.

    Args:
        name: what people will read; the folder's name is derived from it.
        card: a character card to start from; unset: a template.

    Raises:
        UnsafeNameError: nothing is left of the name.
        PersonaExistsError: there is already a persona of that name.
        FolderNotWritableError: the data folder cannot be written.
    """
    slug = slugify(name)
    if slug in list_personas():
        msg = f"There is already a persona '{slug}'."
        raise PersonaExistsError(msg)
    from elysia_chat.kb.template import first_document, template_card

    folder = ensure_dir(user_persona_dir(slug))
    lore = ensure_dir(folder / _LORE)
    title = name.strip()
    if not any(lore.iterdir()):
        _write_atomically(lore / f"{slug}.md", first_document(title).encode())
    _write_atomically(folder / "card.json", (card or template_card(title)).to_json().encode())
    return load_persona(slug)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _files_in(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        relative = path.relative_to(folder)
        if any(part.startswith((".", "~$")) for part in relative.parts) or not path.is_file():
            continue
        if inside(path, folder):
            yield relative.as_posix(), path
        else:
            _log.warning("Leaving out %s: it is a link that leads out of %s.", relative, folder)


def _write_atomically(path: Path, content: bytes) -> None:
    """Write a file so that a reader sees the old content or the new, never a part."""
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)
    finally:
        Path(temporary).unlink(missing_ok=True)
