"""Which device and which number format fit this machine, and whether a model fits into its memory."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.processor import is_fast_with_bfloat16
from elysia_chat.llm.capacity import Quantization, Size
from elysia_chat.llm.errors import ModelLoadError

if TYPE_CHECKING:
    import torch

# Of each of several GPUs; what is left holds activations, keys and values.
_SHARE_FOR_WEIGHTS = 0.9
# Layers are not divided, so several GPUs are never filled to the brim.
_WHOLE_LAYERS = 1.05


@dataclass(frozen=True)
class GpuMemory:
    """The memory of one GPU, in bytes."""

    index: int
    name: str
    free: int
    total: int


@dataclass(frozen=True)
class Placement:
    """Where a model goes.

    Attributes:
        device: of its first layers, or of all of them.
        device_map: for transformers; None where the model is moved to `device` after loading.
        max_memory: bytes that weights may take on each GPU, where there are several.
    """

    device: "torch.device"
    device_map: Any = None
    max_memory: dict[int, int] | None = None


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


def gpu_memory() -> list[GpuMemory]:
    """Return the memory of each GPU that CUDA can use."""
    import torch

    found = []
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        free, total = torch.cuda.mem_get_info(index)
        found.append(GpuMemory(index, torch.cuda.get_device_name(index), free, total))
    return found


def free_memory() -> int:
    """Return the bytes of main memory that could be taken now."""
    import psutil

    return int(psutil.virtual_memory().available)


def choose_placement(name: str, device: str, dtype: str, quantization: Quantization, size: Size | None) -> Placement:
    """Return where a model goes: one GPU where it fits, several where it has to and may.

    Args:
        name: of the model, for messages.
        device: as in the settings; 'auto' may spread a model over all GPUs.
        dtype: number format of the weights that are not quantised.
        quantization: of the others.
        size: of the model; None where it is not known before it is downloaded.

    Raises:
        ModelLoadError: there is no such device, or too little memory on it; the message says what would help.
    """
    target = choose_device(device)
    if target.type != "cuda":
        return Placement(target)
    memory = gpu_memory()
    own = [gpu for gpu in memory if device == "auto" or gpu.index == (target.index or 0)]
    if size is None:
        return Placement(target, {"": target})
    needed = size.needed(dtype, quantization)
    fitting = [gpu for gpu in own if gpu.free >= needed]
    if fitting:
        return _on_one(fitting[0])
    if len(own) > 1 and _fits_together(own, size, dtype, quantization):
        limits = {gpu.index: int(gpu.free * _SHARE_FOR_WEIGHTS) for gpu in own}
        return Placement(target, "balanced", limits)
    raise ModelLoadError(_too_large(name, dtype, quantization, size, own, memory))


def _on_one(gpu: GpuMemory) -> Placement:
    import torch

    device = torch.device("cuda", gpu.index)
    return Placement(device, {"": device})


def _fits_together(gpus: list[GpuMemory], size: Size, dtype: str, quantization: Quantization) -> bool:
    weights = size.weights_in(dtype, quantization)
    return weights * _WHOLE_LAYERS <= sum(int(gpu.free * _SHARE_FOR_WEIGHTS) for gpu in gpus)


def _too_large(
    name: str, dtype: str, quantization: Quantization, size: Size, own: list[GpuMemory], memory: list[GpuMemory]
) -> str:
    how = dtype if quantization == "none" else quantization.replace("bit", " bits")
    room = max(gpu.free for gpu in own)
    helps = [f"model.device=auto (spreads it over {len(memory)} GPUs)"] if len(own) < len(memory) else []
    smaller: tuple[Quantization, ...] = ("8bit", "4bit")
    for kind in smaller[smaller.index(quantization) + 1 :] if quantization in smaller else smaller:
        if size.needed(dtype, kind) <= room or (len(own) > 1 and _fits_together(own, size, dtype, kind)):
            helps.append(f"model.quantization={kind} ({size.needed(dtype, kind) / 1e9:.1f} GB)")
    helps.append("model.device=cpu, or a smaller model")
    free = f"{room / 1e9:.1f} GB are free" + f" on the emptiest of {len(own)} GPUs" * (len(own) > 1)
    needed = f"{size.needed(dtype, quantization) / 1e9:.1f} GB"
    return f"{name} needs about {needed} of GPU memory in {how}, and {free}: set {', '.join(helps)}."


def _is_fast_with_bfloat16(device: "torch.device") -> bool:
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # A third of float32's time for a prompt, half for a token (Gemma 3 270M on two cores).
    return device.type == "cpu" and is_fast_with_bfloat16()
