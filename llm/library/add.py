"""Brings a model or adapter into the data folder: from a hub or a folder, converted where that is needed.

Whatever is brought in appears whole or not at all. Weights of a local folder are linked where the file system can do
that (they take no room then), else copied.
"""

import os
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from elysia_chat.configs.files import check_free, fresh_folder, writing_errors
from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.llm.adapter import check_adapter
from elysia_chat.llm.adapter_files import PICKLED, read_config, read_shapes, read_weights, weights_file, write_adapter
from elysia_chat.llm.capacity import empty_model
from elysia_chat.llm.checkpoint_files import read_config as read_model_config
from elysia_chat.llm.errors import LibraryError
from elysia_chat.llm.internlm2 import convert
from elysia_chat.llm.internlm2.adapter import convert_adapter, is_for_internlm2
from elysia_chat.llm.internlm2.config import heads_of
from elysia_chat.llm.library import hubs
from elysia_chat.llm.library.contents import Entry, check_name, find, find_base, locked
from elysia_chat.llm.library.record import Origin, Recipe, Record, hash_files, write_record
from elysia_chat.llm.library.remote_files import Listing
from elysia_chat.llm.library.remote_files import Progress as Bytes
from elysia_chat.llm.library.selection import Kind, kind_of, small_files, weight_names
from elysia_chat.llm.loading import check_folder

Progress = Callable[[str, float, float], None]
"""Called with what is being done, how much of it is done, and how much there is in all."""

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
_NOTICES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*TERMS*", "README.md")
_ADAPTER_EXTRAS = ("chat_template.jinja", "training.yaml")


def add(
    source: str,
    *,
    name: str | None = None,
    hub: hubs.HubName = "hf",
    revision: str | None = None,
    base: str | None = None,
    progress: Progress = lambda _what, _done, _total: None,
) -> Entry:
    """Bring a model or adapter in.

    Args:
        source: a folder, or "owner/name" on a hub.
        name: what it is called here; unset: as at its source.
        hub: where to look for a name.
        revision: branch, tag or commit on the hub.
        base: of an adapter: the model that it belongs to, where its own settings do not name it.
        progress: told what is being done.

    Returns:
        What is in the data folder now.

    Raises:
        LibraryError: there is nothing that can be used, the name is taken, or the disk has no room.
        DownloadError: the hub does not have it, refuses it, or cannot be reached.
        ConversionError: an InternLM2 or its adapter cannot be turned into Llama's form.
        ModelLoadError: a file is missing, cut off or damaged.
        AdapterError: an adapter is damaged, or belongs to another model.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = Path(source).expanduser()
    called = name or (folder.resolve().name if folder.is_dir() else source.rpartition("/")[2])
    check_name(called)
    target = ensure_dir(models_dir()) / called
    with locked(called):
        check_name(called)
        origin = _open(source, folder, hub, revision)
        with writing_errors(target, LibraryError), fresh_folder(target) as (fresh, finish):
            record = _bring(origin, fresh, base, progress)
            total = float(sum(path.stat().st_size for path in fresh.iterdir()))
            files = hash_files(fresh, lambda done: progress("checking what was written", done, total))
            write_record(fresh, Record(**{**record, "files": files}))
            finish()
        origin.forget()
    return find(called)


class _Source(Protocol):
    """Where the files come from; after `fetch` they lie in `path`."""

    origin: Origin
    label: str
    revision: str | None
    path: Path
    files: Mapping[str, int]

    def fetch(self, names: Sequence[str], progress: Bytes) -> None: ...

    def room(self, names: Sequence[str]) -> int:
        """Return how many bytes of disk `fetch` and `place` take."""

    def place(self, name: str, target: Path) -> None: ...

    def forget(self) -> None: ...


class _FolderSource:
    origin: Origin = "folder"
    revision: str | None = None

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self.label = str(self.path)
        self.files: Mapping[str, int] = {file.name: file.stat().st_size for file in path.iterdir() if file.is_file()}

    def fetch(self, names: Sequence[str], progress: Bytes) -> None:
        """Do nothing: the files are here."""

    def room(self, names: Sequence[str]) -> int:
        if self.path.stat().st_dev == models_dir().stat().st_dev:
            return 0
        return sum(self.files[name] for name in names)

    def place(self, name: str, target: Path) -> None:
        _link(self.path / name, target / name, shutil.copyfile)

    def forget(self) -> None:
        """Do nothing: the folder is the user's."""


class _HubSource:
    def __init__(self, hub: hubs.HubName, listing: Listing) -> None:
        self.origin: Origin = hub
        self.label = listing.repo
        self.revision: str | None = listing.revision
        self.path = models_dir() / ".downloads" / _staging_name(hub, listing)
        self.files: Mapping[str, int] = {file.name: file.size for file in listing.files}
        self._hub: hubs.HubName = hub
        self._listing = listing

    def fetch(self, names: Sequence[str], progress: Bytes) -> None:
        hubs.fetch(self._hub, self._listing, names, self.path, progress)

    def room(self, names: Sequence[str]) -> int:
        return sum(self.files[name] for name in names if not hubs.is_here(self.path, self._listing, name))

    def place(self, name: str, target: Path) -> None:
        _link(self.path / name, target / name, lambda source, to: source.rename(to))

    def forget(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)


def _open(source: str, folder: Path, hub: hubs.HubName, revision: str | None) -> "_FolderSource | _HubSource":
    if folder.is_dir():
        return _FolderSource(folder)
    if not _HUB_NAME.fullmatch(source):
        msg = f"There is no folder '{source}', and a name on a hub is written owner/name."
        raise LibraryError(msg)
    return _HubSource(hub, hubs.list_files(hub, source, revision))


def _bring(origin: _Source, fresh: Path, base: str | None, progress: Progress) -> dict[str, Any]:
    """Fill the folder; return the record but for the files."""
    small = small_files(origin.files)
    origin.fetch(small, lambda done, total: progress("fetching the settings", done, total))
    kind = kind_of(origin.path)
    weights = weight_names(origin.files, origin.path, kind)
    written = sum(origin.files[name] for name in weights) * (kind == "internlm2")
    check_free(models_dir(), origin.room(weights) + written, LibraryError)
    origin.fetch(weights, lambda done, total: progress(f"downloading {origin.label}", done, total))
    recipe, version, called = _write(origin, fresh, kind, [*small, *weights], base, progress)
    return {
        "kind": "adapter" if kind == "adapter" else "model",
        "origin": origin.origin,
        "source": origin.label,
        "revision": origin.revision,
        "recipe": recipe,
        "recipe_version": version,
        "added": datetime.now(UTC).isoformat(timespec="seconds"),
        "base": called,
    }


def _write(
    origin: _Source, fresh: Path, kind: Kind, names: Sequence[str], base: str | None, progress: Progress
) -> tuple[Recipe, int, str | None]:
    """Fill the folder from files that are here; return the recipe, its version, and an adapter's base."""
    if kind == "adapter":
        recipe, called = _write_adapter(origin.path, fresh, base)
        _copy(origin.path, fresh, (*_NOTICES, *_ADAPTER_EXTRAS))
        return recipe, convert.RECIPE, called
    if kind == "internlm2":
        convert.convert_model(
            origin.path, fresh, progress=lambda share: progress("converting InternLM2 to Llama's form", share, 1.0)
        )
        _copy(origin.path, fresh, _NOTICES)
        check_folder(fresh)
        return "internlm2", convert.RECIPE, None
    for name in names:
        if name.endswith(".safetensors"):
            origin.place(name, fresh)
        else:
            shutil.copyfile(origin.path / name, fresh / name)
    check_folder(fresh)
    return "none", 1, None


def _write_adapter(source: Path, fresh: Path, base: str | None) -> tuple[Recipe, str | None]:
    config = read_config(source)
    wanted = base or str(config.get("base_model_name_or_path") or "")
    entry = find_base(wanted) if wanted else None
    called = entry.name if entry is not None else wanted or None
    recipe: Recipe = "pickled" if weights_file(source).name == PICKLED else "none"
    if is_for_internlm2(read_shapes(source)):
        if entry is None:
            what = f"'{wanted}', which is not here: add that first" if wanted else "a model that it does not name"
            msg = f"The adapter was trained on {what}, or say with --base which model it belongs to."
            raise LibraryError(msg)
        convert_adapter(source, fresh, heads_of(read_model_config(entry.folder)), entry.name)
        recipe = "internlm2"
    else:
        write_adapter(fresh, {**config, "base_model_name_or_path": called}, read_weights(source))
    if entry is not None:
        check_adapter(fresh, empty_model(entry.folder), entry.name)
    return recipe, called


def _link(source: Path, target: Path, otherwise: Callable[[Path, Path], Any]) -> None:
    try:
        os.link(source.resolve(), target)
    except OSError:
        otherwise(source, target)


def _copy(source: Path, target: Path, patterns: Sequence[str]) -> None:
    for pattern in patterns:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, target / path.name)


def _staging_name(hub: str, listing: Listing) -> str:
    return "--".join((hub, *listing.repo.split("/"), re.sub(r"[^\w.-]", "_", listing.revision)))
