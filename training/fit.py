"""Whether a run fits the machine: graphics memory and disk, estimated before the first step."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.configs.files import check_free
from elysia_chat.training.errors import PresetError
from elysia_chat.training.loss import CHUNK_BYTES
from elysia_chat.training.presets import Preset

_NF4_BYTES = 0.516
"""Bytes of a weight in NF4 with doubly quantised scales: 4 bits, and 0.127 for each block of 64."""
_SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}


@dataclass(frozen=True)
class Memory:
    """An estimate of what a run holds at once, in bytes."""

    weights: int
    adapter: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.adapter + self.activations


def paged(preset: Preset, device_type: str) -> bool:
    """Tell whether the optimiser is bitsandbytes' paged one in 8 bits."""
    chosen = preset.train.optimizer
    automatic = chosen == "auto" and preset.model.bits == 4 and device_type == "cuda"
    return chosen == "paged_adamw_8bit" or automatic


def trained_parameters(model: Any, preset: Preset) -> int:
    """Count the parameters of the adapter that a preset puts on a model."""
    targets = set(preset.lora.targets)
    shapes = (
        module.weight.shape
        for name, module in model.named_modules()
        if name.rpartition(".")[2] in targets and getattr(module, "weight", None) is not None
    )
    return sum(preset.lora.r * (shape[0] + shape[1]) for shape in shapes)


def estimate(model: Any, preset: Preset, device_type: str = "cuda") -> Memory:
    """Estimate the memory of a run, rather too little than too much.

    Weights as they are loaded; the adapter in float32 with its gradient and, unless they are paged, the optimiser's two
    moments; activations of one batch: what is kept for the way back, one layer at work, and a chunk of logits.

    Args:
        model: on the meta device.
        preset: the run.
        device_type: "cuda" or "cpu".
    """
    from torch import nn

    size = _SIZES[preset.model.dtype]
    head = model.get_output_embeddings()
    linear = sum(
        module.weight.numel() for module in model.modules() if isinstance(module, nn.Linear) and module is not head
    )
    rest = sum(parameter.numel() for parameter in model.parameters()) - linear
    weights = linear * (_NF4_BYTES if preset.model.bits == 4 else size) + rest * size
    adapter = trained_parameters(model, preset) * (8 if paged(preset, device_type) else 16)
    config = model.config.get_text_config()
    hidden, inner = config.hidden_size, config.intermediate_size
    # Of each layer: its inputs, normed inputs, projections and products; measured on InternLM2's and Gemma's shapes.
    at_work = (10 * hidden + 4 * inner) * size
    layers = config.num_hidden_layers
    kept = hidden * size * layers + at_work if preset.train.gradient_checkpointing else at_work * layers
    tokens = max(preset.data.max_tokens, preset.train.batch_tokens)
    return Memory(int(weights), int(adapter), int(tokens * kept + 2 * CHUNK_BYTES))


def check_memory(model: Any, preset: Preset, device: Any) -> None:
    """Refuse a run that cannot fit into the memory of its GPU; with DeepSpeed or on the CPU nothing is checked.

    Raises:
        PresetError: it needs more than is free; the message says what helps.
    """
    if device.type != "cuda" or preset.train.deepspeed:
        return
    free, needed = _free_memory(device), estimate(model, preset)
    if needed.total <= free:
        return
    ways = [] if preset.train.gradient_checkpointing else ["train.gradient_checkpointing=true"]
    if needed.activations > needed.weights / 4:
        ways.append(f"train.batch_tokens={preset.train.batch_tokens // 2}")
    ways += ["model.bits=4"] if preset.model.bits == 16 else []
    ways += ["a smaller lora.r"] if not ways else []
    msg = (
        f"This run needs about {needed.total / 1e9:.1f} GB of GPU memory (weights {needed.weights / 1e9:.1f}, adapter "
        f"{needed.adapter / 1e9:.1f}, activations {needed.activations / 1e9:.1f}) and {free / 1e9:.1f} GB are free: "
        f"try {', '.join(ways)}."
    )
    raise PresetError(msg)


def check_disk(model: Any, preset: Preset, out: Path) -> None:
    """Refuse a run whose checkpoints do not fit on the disk: as many as are kept, one being written, the adapter.

    Raises:
        PresetError: they do not; the message says what is there and what is needed.
    """
    count = trained_parameters(model, preset)
    checkpoint = count * (4 + (2 if paged(preset, "cuda") else 8))
    check_free(out, checkpoint * (preset.train.save_limit + 1) + count * 2, PresetError)


def _free_memory(device: Any) -> int:
    import torch

    return int(torch.cuda.mem_get_info(device)[0])
