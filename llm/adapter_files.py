"""The two files of a PEFT adapter: its settings and its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.checkpoint_files import read_tensors
from elysia_chat.llm.errors import AdapterError, ModelLoadError

if TYPE_CHECKING:
    import torch

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
PICKLED = "adapter_model.bin"
PREFIX = "base_model.model."

Weights = dict[str, "torch.Tensor"]


def is_adapter(folder: Path) -> bool:
    """Tell whether a folder holds an adapter."""
    return (folder / CONFIG).is_file()


def read_config(folder: Path) -> dict[str, Any]:
    """Return the settings of an adapter.

    Raises:
        AdapterError: they are missing or damaged, or it is no LoRA.
    """
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder} is no adapter: its {CONFIG} is missing or damaged."
        raise AdapterError(msg) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        msg = f"{folder} holds no LoRA adapter: only those can be merged."
        raise AdapterError(msg)
    return config


def weights_file(folder: Path) -> Path:
    """Return the file with an adapter's weights: safetensors, or the pickled one where there is nothing else."""
    return folder / (PICKLED if (folder / PICKLED).is_file() and not (folder / WEIGHTS).exists() else WEIGHTS)


def read_weights(folder: Path) -> Weights:
    """Return an adapter's tensors; of a pickled file nothing but tensors is read.

    Raises:
        AdapterError: they are missing, cut off, or something else.
    """
    path = weights_file(folder)
    try:
        found = dict(read_tensors(path))
    except ModelLoadError as error:
        msg = str(error).replace("copy or download the model again", "copy the adapter again")
        raise AdapterError(msg) from error
    if not found:
        msg = f"{path} holds no weights: copy the adapter again."
        raise AdapterError(msg)
    return found


def read_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of an adapter's tensors.

    Raises:
        AdapterError: they are missing, cut off, or something else.
    """
    return {name: tuple(tensor.shape) for name, tensor in read_weights(folder).items()}


def write_adapter(folder: Path, config: Mapping[str, Any], weights: Weights) -> None:
    """Write an adapter's two files, the weights as safetensors."""
    from safetensors.torch import save_file

    (folder / CONFIG).write_text(json.dumps(dict(config), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    save_file({name: tensor.contiguous() for name, tensor in weights.items()}, folder / WEIGHTS, {"format": "pt"})
