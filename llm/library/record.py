"""What was brought in, from where and how: a JSON file in the folder of each model and adapter."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from elysia_chat.configs.files import write_text

FILE = "added.json"
Origin = Literal["hf", "modelscope", "folder"]
Recipe = Literal["none", "internlm2", "pickled"]
_BLOCK = 1 << 22


@dataclass(frozen=True)
class Record:
    """What is known of a model or adapter in the data folder.

    Attributes:
        kind: what it is.
        origin: where it came from.
        source: name on the hub, or the folder.
        revision: on the hub; a commit where it tells.
        recipe: 'internlm2' where it was turned into Llama's form, 'pickled' where weights became safetensors, else
            'none'.
        recipe_version: of the recipe.
        added: date and time, UTC, ISO 8601.
        files: size in bytes and SHA-256 of each file.
        base: of an adapter: the model that it was trained on, as it is called here or by the adapter.
    """

    kind: Literal["model", "adapter"]
    origin: Origin
    source: str
    revision: str | None
    recipe: Recipe
    recipe_version: int
    added: str
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    base: str | None = None

    @property
    def short_name(self) -> str:
        """The last part of the source's name, as adapters name their base."""
        return self.source.replace("\\", "/").rstrip("/").rpartition("/")[2]


def write_record(folder: Path, record: Record) -> None:
    """Write the record into a folder."""
    write_text(folder / FILE, json.dumps(asdict(record), indent=2, ensure_ascii=False) + "\n")


def read_record(folder: Path) -> Record | None:
    """Return the record in a folder; None where there is none that can be read."""
    try:
        return Record(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def hash_files(folder: Path, progress: Callable[[float], None] = lambda _bytes: None) -> dict[str, dict[str, Any]]:
    """Return size and SHA-256 of every file in a folder but the record.

    Args:
        folder: whose files.
        progress: told the bytes read so far.
    """
    found: dict[str, dict[str, Any]] = {}
    done = 0
    for path in sorted(path for path in folder.iterdir() if path.is_file() and path.name != FILE):
        found[path.name] = {"bytes": path.stat().st_size, "sha256": sha256_of(path)}
        done += found[path.name]["bytes"]
        progress(done)
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
