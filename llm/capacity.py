"""How large a model is, and how much memory it takes in each number format; read from the heads of its files."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elysia_chat.llm.checkpoint_files import damaged, read_config, weight_files
from elysia_chat.llm.errors import ModelLoadError

Quantization = Literal["none", "8bit", "4bit"]

_BITS: dict[str, float] = {"float32": 32, "bfloat16": 16, "float16": 16}
# NF4 has a scale of 8 bits for each 64 values, and one of 32 bits for each 256 of those; LLM.int8 one for each row.
_QUANTISED_BITS: dict[str, float] = {"8bit": 8.02, "4bit": 4 + 8 / 64 + 32 / (64 * 256)}
# Embeddings and head are not quantised.
_ENDS = ("embed", "lm_head", "wte", "wpe", "embd")
CONVERSATION_TOKENS = 4096
"""Length of a conversation that memory is reckoned with."""

_CUDA_BYTES = 700_000_000
_STORED = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16", "F8_E4M3": "float8", "I8": "int8"}


@dataclass(frozen=True)
class Size:
    """How large a model is.

    Attributes:
        parameters: their number.
        quantisable: of these, those in layers that quantisation makes smaller.
        bytes: of the files with weights.
        dtypes: number of parameters by number format.
        kv_bytes: keys and values of one token in 16 bits.
    """

    parameters: int
    quantisable: int
    bytes: int
    dtypes: Mapping[str, int]
    kv_bytes: int

    @property
    def dtype(self) -> str:
        """The number format of most of the weights."""
        return max(self.dtypes, key=lambda name: self.dtypes[name])

    def weights_in(self, dtype: str, quantization: Quantization = "none") -> int:
        """Return the bytes of the weights in memory."""
        small = self.quantisable if quantization != "none" else 0
        bits = (self.parameters - small) * _BITS[dtype]
        return int((bits + small * _QUANTISED_BITS.get(quantization, 0)) / 8)

    def needed(self, dtype: str, quantization: Quantization = "none") -> int:
        """Return the bytes that a GPU needs: weights, a conversation of usual length, and CUDA's own."""
        cache = self.kv_bytes * CONVERSATION_TOKENS * int(_BITS[dtype]) // 16
        return self.weights_in(dtype, quantization) + cache + _CUDA_BYTES


def size_of(folder: Path) -> Size:
    """Return how large the model in a folder is.

    Raises:
        ModelLoadError: a file is missing or cut off.
    """
    from safetensors import SafetensorError, safe_open

    dtypes: dict[str, int] = {}
    parameters = quantisable = 0
    files = weight_files(folder)
    for path in files:
        try:
            with safe_open(path, framework="pt") as file:
                for name in file.keys():  # noqa: SIM118
                    part = file.get_slice(name)
                    shape, kind = part.get_shape(), str(part.get_dtype())
                    count = math.prod(shape)
                    parameters += count
                    dtypes[_STORED.get(kind, kind)] = dtypes.get(_STORED.get(kind, kind), 0) + count
                    if len(shape) > 1 and not any(end in name for end in _ENDS):
                        quantisable += count
        except (OSError, SafetensorError) as error:
            raise damaged(path) from error
    if not parameters:
        msg = f"{folder} holds no weights: copy or download the model again."
        raise ModelLoadError(msg)
    size = sum(path.stat().st_size for path in files)
    return Size(parameters, quantisable, size, dtypes, _kv_bytes(read_config(folder)))


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the part of a configuration that is about text."""
    part = config.get("text_config")
    return {**config, **part} if isinstance(part, dict) else config


def empty_model(folder: Path) -> Any:
    """Return a model without its weights: its modules, and the shape of each matrix.

    Raises:
        ModelLoadError: its architecture is not known, or its configuration is damaged.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        msg = f"Cannot read the model {folder}: {str(error).splitlines()[0]}"
        raise ModelLoadError(msg) from error


def _kv_bytes(config: Mapping[str, Any]) -> int:
    """Return what keys and values of one token take in 16 bits; 0 where the configuration does not tell."""
    config = text_config(config)
    heads = config.get("num_attention_heads")
    layers, hidden = config.get("num_hidden_layers"), config.get("hidden_size")
    if not (isinstance(heads, int) and isinstance(layers, int) and isinstance(hidden, int) and heads):
        return 0
    size = config.get("head_dim") or hidden // heads
    return int(2 * layers * (config.get("num_key_value_heads") or heads) * size * 2)
