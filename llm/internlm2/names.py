"""Where each of InternLM2's tensors goes in Llama, and how query, key and value come out of one matrix."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.internlm2.config import Heads

if TYPE_CHECKING:
    import torch

PACKED = "wqkv"
MODULES: dict[str, tuple[str, ...]] = {
    PACKED: ("q_proj", "k_proj", "v_proj"),
    "wo": ("o_proj",),
    "w1": ("gate_proj",),
    "w3": ("up_proj",),
    "w2": ("down_proj",),
    "output": ("lm_head",),
    "tok_embeddings": ("embed_tokens",),
}
"""The names of InternLM2's layers, and those that hold the same weights in Llama."""

_PARTS = {
    "attention": "self_attn",
    "feed_forward": "mlp",
    "attention_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
}
_RENAMED = _PARTS | {old: new[0] for old, new in MODULES.items() if len(new) == 1}
_PACKED_PATH = re.compile(rf"^(.*\.)?attention\.{PACKED}(\..*)?$")


def renamed(name: str) -> str:
    """Return Llama's name of a tensor or module that is in one piece there too."""
    return ".".join(_RENAMED.get(part, part) for part in name.split("."))


def unpacked_names(name: str) -> tuple[str, str, str] | None:
    """Return Llama's names of query, key and value for something of a packed layer; None for all other names."""
    found = _PACKED_PATH.match(name)
    if found is None:
        return None
    before, after = renamed(found[1] or ""), found[2] or ""
    query, key, value = (f"{before}self_attn.{layer}{after}" for layer in MODULES[PACKED])
    return query, key, value


def split_rows(packed: "torch.Tensor", heads: Heads) -> tuple["torch.Tensor", "torch.Tensor", "torch.Tensor"]:
    """Split the rows of a packed layer.

    The rows come in groups, one for each key head: its query heads, then the key head, then the value head.

    Args:
        packed: (rows, …): a weight, a bias, or matrix B of a LoRA.
        heads: of the model.

    Returns:
        The rows of query, key and value, each contiguous and of its own.

    Raises:
        ValueError: it has another number of rows.
    """
    shape = packed.shape[1:]
    shared = heads.queries // heads.keys
    if packed.shape[0] != (heads.queries + 2 * heads.keys) * heads.size:
        msg = f"{packed.shape[0]} rows are not those of {heads}"
        raise ValueError(msg)
    groups = packed.reshape(heads.keys, shared + 2, heads.size, *shape)
    parts = (groups[:, :shared], groups[:, shared], groups[:, shared + 1])
    query, key, value = (part.reshape(-1, *shape).clone() for part in parts)
    return query, key, value


def expected_shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Return name and shape of every tensor that a Llama with this configuration is stored as.

    Args:
        config: as `config.convert_config` returns it.
    """
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(LlamaConfig(**config))
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if config["tie_word_embeddings"]:
        shapes.pop("lm_head.weight", None)
    return shapes
