"""What an engine has to know of a model of transformers before it may keep and reuse what the model computed."""

from typing import Any


def context_limit(config: Any, context_tokens: int | None) -> int | None:
    """Return the longest prompt plus answer: what was asked for, within what the model was made for; None: no limit.

    Args:
        config: of the model's text part.
        context_tokens: what was asked for.
    """
    limits = [context_tokens, getattr(config, "max_position_embeddings", None)]
    return min((limit for limit in limits if limit is not None), default=None)


def keeps_all_positions(config: Any) -> bool:
    """Tell whether all layers are attention whose past can be kept whole: no recurrent or shared states."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers)


def is_attention_on_one_device(model: Any) -> bool:
    """Tell whether a model's past is keys and values alone, and all in one place."""
    devices = set(getattr(model, "hf_device_map", {}).values())
    return len(devices) < 2 and keeps_all_positions(model.config.get_text_config())


def tokens_with_fixed_positions(config: Any) -> int | None:
    """Return up to which length keys depend on the tokens before them alone; None: always.

    Dynamic and long RoPE turn earlier positions differently once the text is longer than the trained length.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    changing = [kind for kind in kinds if kind.get("rope_type") in ("dynamic", "longrope")]
    if not changing:
        return None
    return min(int(kind.get("original_max_position_embeddings") or config.max_position_embeddings) for kind in changing)


def end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer."""
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    if ends is None:
        ends = model.config.get_text_config().eos_token_id
    found = {ends} if isinstance(ends, int) else set(ends or ())
    return frozenset(found | {tokenizer.eos_token_id} - {None})
