"""Low-rank changes of an encoder's weights, as `train search` writes them, added to the weights themselves."""

from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.kb.errors import EmbeddingModelError

if TYPE_CHECKING:
    import torch

FORMAT = "low-rank-factors-1"
_DOWN, _UP = ".down", ".up"


def add_factors(state: dict[str, "torch.Tensor"], path: Path) -> None:
    """Change a state dict in place, wholly or not at all.

    `name.down` (rank, in) and `name.up` (out, rank) add up @ down to `name.weight` (out, in), computed in float32; any
    other tensor of the file takes the place of the one of its name.

    Args:
        state: tensors of the encoder by name; those of the encoder inside a classifier have "bert." before them.
        path: a safetensors file of factors.

    Raises:
        EmbeddingModelError: the file is broken, or made for another encoder.
    """
    factors = _read(path)
    changed: dict[str, torch.Tensor] = {}
    for name, tensor in factors.items():
        layer = name.removesuffix(_DOWN).removesuffix(_UP)
        target = _name_in(state, name if layer == name else f"{layer}.weight")
        if target is None:
            raise EmbeddingModelError(_other_encoder(path, layer))
        old = state[target]
        new: torch.Tensor | None
        if layer == name:
            new = tensor.to(old.dtype)
        elif name.endswith(_UP):
            if f"{layer}{_DOWN}" not in factors:
                raise EmbeddingModelError(_other_encoder(path, layer))
            continue
        else:
            new = _changed(old, factors.get(f"{layer}{_UP}"), tensor)
        if new is None or new.shape != old.shape:
            raise EmbeddingModelError(_other_encoder(path, layer))
        changed[target] = new
    state.update(changed)


def _read(path: Path) -> dict[str, "torch.Tensor"]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            metadata, factors = file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        msg = f"{path.name} is no file of factors, or it is cut short."
        raise EmbeddingModelError(msg) from error
    if metadata.get("format") != FORMAT:
        msg = f"{path.name} is no file of factors ({FORMAT})."
        raise EmbeddingModelError(msg)
    return factors


def _name_in(state: dict[str, "torch.Tensor"], name: str) -> str | None:
    return next((known for known in (f"bert.{name}", name) if known in state), None)


def _changed(weight: "torch.Tensor", up: "torch.Tensor | None", down: "torch.Tensor") -> "torch.Tensor | None":
    """Return the changed weight, None where the factors do not fit each other or the weight."""
    if up is None or up.ndim != 2 or down.ndim != 2 or up.shape[1] != down.shape[0]:
        return None
    if weight.shape != (up.shape[0], down.shape[1]):
        return None
    return (weight.float() + up.float() @ down.float()).to(weight.dtype)


def _other_encoder(path: Path, layer: str) -> str:
    return f"{path.name} was made for another encoder: '{layer}' does not fit."
