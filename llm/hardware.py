"""Which device and which number format fit this machine."""

from typing import TYPE_CHECKING

from elysia_chat.llm.errors import ModelLoadError

if TYPE_CHECKING:
    import torch

# Instructions for bfloat16 products. Without them a CPU computes bfloat16 slower than float32; with them it took a
# third of float32's time for a prompt and half for a token (Gemma 3 270M on two cores).
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def choose_device(name: str) -> "torch.device":
    """Return the device of this name; 'auto' is the best one there is.

    Raises:
        ModelLoadError: there is no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, ValueError, NotImplementedError) as error:
        msg = f"There is no device '{name}' here (model.device): use 'auto' or 'cpu'."
        raise ModelLoadError(msg) from error
    return device


def choose_dtype(name: str, device: "torch.device") -> "torch.dtype":
    """Return the number format of this name; 'auto' is bfloat16 where the device is fast with it, else float32."""
    import torch

    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[name]
    return torch.bfloat16 if _is_fast_with_bfloat16(device) else torch.float32


def _is_fast_with_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return any(capabilities.get(name, False) for name in _FAST_BFLOAT16)
    return False
