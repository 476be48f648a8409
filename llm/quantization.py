"""Weights in 8 or 4 bits, by bitsandbytes while a model is loaded."""

import importlib.util
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.capacity import Quantization
from elysia_chat.llm.errors import ModelLoadError

if TYPE_CHECKING:
    import torch


def check_quantization(kind: Quantization, device: str, chosen: "torch.device") -> None:
    """Check that weights can be quantised here.

    On the CPU it works too, but slower than anything else: there it has to be asked for by name.

    Args:
        kind: of the quantisation.
        device: as in the settings.
        chosen: what that means here.

    Raises:
        ModelLoadError: bitsandbytes is missing, or there is no GPU.
    """
    if kind == "none":
        return
    if importlib.util.find_spec("bitsandbytes") is None:
        msg = f"model.quantization={kind} needs bitsandbytes: pip install 'elysia-chat[train]', or set it to none."
        raise ModelLoadError(msg)
    if chosen.type != "cuda" and not (chosen.type == "cpu" and device == "cpu"):
        msg = (
            f"model.quantization={kind} needs an NVIDIA GPU, and none is found: set it to none, or try it on the CPU "
            "with model.device=cpu (slow)."
        )
        raise ModelLoadError(msg)


def quantization_config(kind: Quantization, dtype: "torch.dtype") -> Any:
    """Return transformers' settings: LLM.int8, or NF4 with double quantisation; None for 'none'.

    Args:
        kind: of the quantisation.
        dtype: of the computation.
    """
    if kind == "none":
        return None
    from transformers import BitsAndBytesConfig

    if kind == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=dtype,
    )
