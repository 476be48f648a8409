"""Average adapters that started from the same one, and scale what they change."""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from elysia_chat.training.errors import CheckpointError

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def average_adapters(folders: Sequence[Path], out: Path, scale: float = 1.0) -> Path:
    """Write the mean of several LoRA adapters as one of the same rank.

    Runs that go on from one adapter with other data and another order stay close enough for the mean of their matrices
    to be better than each (Wortsman et al. 2022, model soups). A scale below 1 keeps more of the base model.

    Args:
        folders: PEFT adapters of the same rank, layers and base.
        out: folder to write.
        scale: what the change of the weights is multiplied by.

    Raises:
        CheckpointError: an adapter is missing, cut short, or differs from the first in shape or base.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file, save_file

    configs, states = [], []
    for folder in folders:
        try:
            configs.append(json.loads((folder / CONFIG).read_text(encoding="utf-8")))
            states.append(load_file(str(folder / WEIGHTS)))
        except (OSError, ValueError, SafetensorError) as error:
            msg = f"The adapter {folder} is missing or cut short: {error}"
            raise CheckpointError(msg) from error
    if not states:
        msg = "Give at least one adapter to average."
        raise CheckpointError(msg)
    for folder, config, state in zip(folders, configs, states, strict=True):
        if not _alike(config, configs[0]) or {k: v.shape for k, v in state.items()} != {
            k: v.shape for k, v in states[0].items()
        }:
            msg = f"The adapter {folder} differs from {folders[0]} in base, rank or layers: they cannot be averaged."
            raise CheckpointError(msg)
    mean: dict[str, Any] = {}
    for name, first in states[0].items():
        total = torch.stack([state[name].float() for state in states]).mean(0)
        mean[name] = (total * scale if ".lora_B." in name else total).to(first.dtype).contiguous()
    out.mkdir(parents=True, exist_ok=True)
    save_file(mean, str(out / WEIGHTS), metadata={"format": "pt"})
    shutil.copyfile(folders[0] / CONFIG, out / CONFIG)
    return out


def _alike(first: dict[str, Any], second: dict[str, Any]) -> bool:
    keys = ("base_model_name_or_path", "r", "lora_alpha", "peft_type")
    return all(first.get(key) == second.get(key) for key in keys)
