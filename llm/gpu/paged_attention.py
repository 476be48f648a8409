"""Attention for batches of many answers, with what comes with torch: no package of flash attention to be built.

transformers' continuous batching otherwise copies the whole past of all answers together in every layer, and masks
what belongs to others. Here the past is read where it lies; where it cannot be (sliding layers, or Triton missing), a
copy is handed to torch's own flash attention, answer by answer.
"""

import importlib.util
import inspect
from functools import lru_cache
from typing import Any

import torch

# transformers prepares no mask, and so on, for names with this word.
NAME = "elysia_flash"
_PROGRAMS = 512
_MOST_SPLITS = 16
_TOKENS = 64
_LEAST_GROUP = 16


def use_paged_attention(model: Any) -> None:
    """Let a model on a GPU attend in this way, in batches and without; it must compute in 16 bits."""
    from transformers import AttentionInterface

    AttentionInterface.register(NAME, attention)
    # The setter would look for a package of this name.
    model.config._attn_implementation = NAME


def attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    sliding_window: int | None = None,
    cache: Any = None,
    **batch: Any,
) -> tuple[torch.Tensor, None]:
    """Attend; see transformers' `AttentionInterface`.

    Args:
        module: the layer's attention.
        query: of the new tokens of all answers, one after the other, shape (1, heads, tokens, head size).
        key: likewise, shape (1, key heads, tokens, head size).
        value: likewise.
        attention_mask: none is needed.
        scaling: of the scores.
        sliding_window: tokens that a token sees, itself included; None: all before it.
        cache: transformers' `PagedAttentionCache`; without one, all tokens are of one text.
        batch: `PagedAttentionArgs` of transformers.

    Returns:
        Shape (1, tokens, heads, head size); no weights.
    """
    scaling = module.scaling if scaling is None else scaling
    if cache is None:
        sizes = query.shape[2], key.shape[2]
        ends = torch.tensor([[0, size] for size in sizes], dtype=torch.int32, device=query.device)
        return _varlen(query, key, value, (*ends, *sizes), scaling, sliding_window), None
    allocator = cache.layer_to_allocator[module.layer_idx]
    read_index = batch["read_index"][allocator.index]
    if allocator.supports_block_table and sliding_window is None and len(read_index) and _has_triton():
        return _in_place(query, key, value, allocator, module.layer_idx, batch, scaling), None
    key, value = cache.update(key_states=key, value_states=value, layer_idx=module.layer_idx, kwargs=batch)
    lengths = (batch["cu_seq_lens_q"], batch["cu_seq_lens_k"], batch["max_length_q"], batch["max_length_k"])
    return _varlen(query, key, value, lengths, scaling, sliding_window), None


def _in_place(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    allocator: Any,
    layer: int,
    batch: dict[str, Any],
    scaling: float,
) -> torch.Tensor:
    keys, values = (pages.flatten(0, 1) for pages in allocator.get_cache_for_block_table(layer))
    write_index = batch["write_index"][allocator.index]
    keys.index_copy_(0, write_index, key[0].transpose(0, 1))
    values.index_copy_(0, write_index, value[0].transpose(0, 1))
    return attend_in_place(
        query[0].transpose(0, 1).contiguous(),
        keys,
        values,
        batch["read_index"][allocator.index],
        batch["cu_seq_lens_q"],
        batch["cu_seq_lens_k"][allocator.layer_type],
        scaling,
    )[None]


def attend_in_place(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    read_index: torch.Tensor,
    query_ends: torch.Tensor,
    key_ends: torch.Tensor,
    scaling: float,
) -> torch.Tensor:
    """Attend from the new tokens of some sequences to those up to them, whose keys lie where an index says.

    Args:
        query: shape (tokens, heads, head size).
        keys: shape (rows, key heads, head size).
        values: likewise.
        read_index: row of each token of each sequence, one sequence after the other, int64.
        query_ends: where the new tokens of each sequence end, shape (sequences + 1,), the first 0, int32.
        key_ends: where all its tokens end in `read_index`, likewise.
        scaling: of the scores.

    Returns:
        Shape (tokens, heads, head size); zeros for tokens behind the last sequence.
    """
    from elysia_chat.llm.gpu.attention_kernels import attend_paged_part, join_parts

    tokens, heads, size = query.shape
    kv_heads, sequences = keys.shape[1], len(query_ends) - 1
    group = max(_LEAST_GROUP, _power_of_two(heads // kv_heads))
    splits = min(_MOST_SPLITS, _power_of_two(-(-_PROGRAMS // (tokens * kv_heads))))
    parts = torch.empty((tokens, kv_heads, splits, group, size), dtype=torch.float32, device=query.device)
    tops, sums = torch.empty((2, tokens, kv_heads, splits, group), dtype=torch.float32, device=query.device)
    sizes = {"HEADS": heads, "KV_HEADS": kv_heads, "HEAD": size, "GROUP": group, "SPLITS": splits}
    attend_paged_part[(tokens, kv_heads, splits)](
        query, keys, values, read_index, query_ends, key_ends, tops, sums, parts, sequences, scaling,
        **sizes, BLOCK=_TOKENS, SEARCH=_power_of_two(sequences),
    )  # fmt: skip
    out = torch.empty_like(query)
    join_parts[(tokens, heads)](tops, sums, parts, out, **sizes)
    return out


def _varlen(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    lengths: tuple[torch.Tensor, torch.Tensor, int, int],
    scaling: float,
    sliding_window: int | None,
) -> torch.Tensor:
    from torch.nn.attention import varlen

    # torch 2.11 and 2.13 take other arguments.
    attend: Any = varlen.varlen_attn
    rows = (part[0].transpose(0, 1).contiguous() for part in (query, key, value))
    window = (-1 if sliding_window is None else sliding_window - 1, 0)
    out: torch.Tensor = attend(*rows, *lengths, scale=scaling, window_size=window, **_grouped_heads())
    return out[None]


@lru_cache(maxsize=1)
def _grouped_heads() -> dict[str, bool]:
    """Return what tells torch that heads share keys; before it had to be told, it simply took them."""
    from torch.nn.attention.varlen import varlen_attn

    return {"enable_gqa": True} if "enable_gqa" in inspect.signature(varlen_attn).parameters else {}


@lru_cache(maxsize=1)
def _has_triton() -> bool:
    return importlib.util.find_spec("triton") is not None


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
