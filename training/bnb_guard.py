"""Keeps 4-bit layers of bitsandbytes from computing wrong gradients on the CPU.

On CPUs with AVX512-BF16 one forward in evaluation mode repacks the weights of a `Linear4bit` for inference, and every
training step after it goes on with the repacked bytes as if nothing had happened: the gradients are wrong (relative
error above 1) and only a warning is shown. The repacking is a speed-up that training has no use for, so it is turned
off: for all layers built after `guard_bitsandbytes`, and by `guard_layers` for those that are there already.
"""

from typing import Any

from elysia_chat.training.errors import PresetError


def guard_bitsandbytes() -> None:
    """Turn the repacking off for all 4-bit layers that are built from now on in this process.

    Raises:
        PresetError: bitsandbytes is not installed, or of a version that this guard does not know.
    """
    modules = _bitsandbytes_modules()
    if not hasattr(modules, "has_avx512bf16"):
        msg = "This version of bitsandbytes is not known to train rightly on the CPU: install bitsandbytes==0.50.2"
        raise PresetError(msg)
    modules.has_avx512bf16 = _never


def guard_layers(model: Any) -> None:
    """Turn the repacking off in the layers of a model that is built already.

    Raises:
        PresetError: a layer has been repacked; that rounds its scales, so it cannot be undone.
    """
    for name, layer in model.named_modules():
        if not isinstance(layer, _bitsandbytes_modules().Linear4bit):
            continue
        if getattr(layer.weight.quant_state, "packing_format_for_cpu", False):
            msg = f"The 4-bit weights of {name} were repacked for inference: load the model again to train it."
            raise PresetError(msg)
        layer.support_avx512bf16_for_cpu = False


def _never() -> bool:
    return False


def _bitsandbytes_modules() -> Any:
    try:
        from bitsandbytes.nn import modules
    except ImportError as error:
        msg = "4-bit weights need bitsandbytes: pip install bitsandbytes==0.50.2"
        raise PresetError(msg) from error
    return modules
