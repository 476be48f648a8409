"""The files of a model: its configuration, and weights that are read tensor by tensor, pickled ones as data alone."""

import json
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.errors import ModelLoadError

if TYPE_CHECKING:
    import torch

_INDEXES = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
_SINGLE = ("model.safetensors", "pytorch_model.bin")


def read_config(folder: Path) -> dict[str, Any]:
    """Return a model's configuration.

    Raises:
        ModelLoadError: it is missing or damaged.
    """
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder} is no model: its config.json is missing or damaged."
        raise ModelLoadError(msg) from error
    if not isinstance(config, dict) or "model_type" not in config:
        msg = f"{folder} is no model: its config.json names no model_type."
        raise ModelLoadError(msg)
    return config


def weight_files(folder: Path) -> list[Path]:
    """Return the files with a model's weights, safetensors before pickled ones; those of an index may be missing.

    Raises:
        ModelLoadError: there are none, or an index is damaged.
    """
    for index, single in zip(_INDEXES, _SINGLE, strict=True):
        if (folder / index).is_file():
            return [folder / name for name in indexed_names(folder / index)]
        if (folder / single).is_file():
            return [folder / single]
    found = sorted(folder.glob("model*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not found:
        msg = f"{folder} holds no weights (model.safetensors or pytorch_model.bin): copy the model again."
        raise ModelLoadError(msg)
    return found


def indexed_names(index: Path) -> list[str]:
    """Return the names of the files that an index of shards lists.

    Raises:
        ModelLoadError: it is damaged, or leads out of its folder.
    """
    try:
        names = sorted({str(name) for name in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        msg = f"{index} is damaged: copy the model again."
        raise ModelLoadError(msg) from error
    if not names or any(Path(name).name != name for name in names):
        msg = f"{index} is damaged: it lists no files of its own folder."
        raise ModelLoadError(msg)
    return names


def read_tensors(path: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    """Give the tensors of a file one after the other; only those that are in use are held in memory.

    Args:
        path: safetensors, or a file that `torch.save` wrote, of which nothing but tensors is read.

    Raises:
        ModelLoadError: it is missing, cut off, or holds something else than tensors.
    """
    yield from _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickled(path)


def _read_safetensors(path: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                yield name, file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise damaged(path) from error


def _read_pickled(path: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    import pickle

    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        msg = f"{path} is damaged or holds more than weights, which is never run: take a version in safetensors."
        raise ModelLoadError(msg) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise damaged(path) from error
    if not isinstance(content, dict) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        msg = f"{path} holds something else than named weights: take the model's own files."
        raise ModelLoadError(msg)
    yield from content.items()


def damaged(path: Path) -> ModelLoadError:
    """Return the error of a file that cannot be read to its end."""
    return ModelLoadError(f"{path} is missing, cut off or damaged: copy or download the model again.")
