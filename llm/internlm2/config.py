"""InternLM2's configuration as Llama's."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from elysia_chat.llm.errors import ConversionError

MODEL_TYPE = "internlm2"
ARCHITECTURE = "InternLM2ForCausalLM"
_SIZES = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")
# What the published configuration class takes where a key is missing.
_DEFAULTS: dict[str, Any] = {
    "hidden_act": "silu",
    "max_position_embeddings": 2048,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-6,
    "use_cache": True,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "tie_word_embeddings": False,
}
_ROPE_TYPES = ("dynamic", "linear")


@dataclass(frozen=True)
class Heads:
    """How many attention heads there are.

    Attributes:
        queries: heads of queries.
        keys: heads of keys, and of values; each serves `queries // keys` heads of queries.
        size: of a head.
    """

    queries: int
    keys: int
    size: int


def heads_of(config: Mapping[str, Any]) -> Heads:
    """Return the heads of an InternLM2 or a Llama configuration.

    Raises:
        ConversionError: the numbers do not go together.
    """
    queries = _whole(config, "num_attention_heads")
    keys = config.get("num_key_value_heads") or queries
    hidden = _whole(config, "hidden_size")
    if not isinstance(keys, int) or queries % keys or hidden % queries:
        msg = f"The configuration is damaged: {queries} heads over {keys} key heads do not fit a width of {hidden}."
        raise ConversionError(msg)
    return Heads(queries, keys, hidden // queries)


def convert_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the configuration of the Llama that computes the same.

    Args:
        config: content of the published `config.json`.

    Raises:
        ConversionError: it is of another model, damaged, or has a kind of RoPE or of weights that is not known.
    """
    _check_kind(config)
    heads = heads_of(config)
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        **{key: _whole(config, key) for key in _SIZES},
        "num_key_value_heads": heads.keys,
        "head_dim": heads.size,
        **{key: config.get(key, default) for key, default in _DEFAULTS.items()},
        "attention_bias": bool(config.get("bias", True)),
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "rope_parameters": _rope(config),
        "dtype": config.get("torch_dtype") or config.get("dtype") or "float16",
    }


def _check_kind(config: Mapping[str, Any]) -> None:
    architectures = config.get("architectures") or [ARCHITECTURE]
    if config.get("model_type") != MODEL_TYPE or architectures != [ARCHITECTURE]:
        msg = f"This is no InternLM2 that writes text, but {config.get('model_type')} with {', '.join(architectures)}."
        raise ConversionError(msg)
    if config.get("quantization_config"):
        msg = "This InternLM2 is quantised already: bring in its 16-bit version, and set model.quantization=4bit."
        raise ConversionError(msg)


def _rope(config: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"rope_type": "default", "rope_theta": float(config.get("rope_theta", 10000.0))}
    scaling = config.get("rope_scaling")
    if not scaling:
        return found
    kind = scaling.get("type") or scaling.get("rope_type") if isinstance(scaling, Mapping) else None
    if kind not in _ROPE_TYPES or not isinstance(scaling.get("factor"), (int, float)):
        msg = f"This InternLM2 scales RoPE by {scaling!r}; known are {', '.join(_ROPE_TYPES)} with a factor."
        raise ConversionError(msg)
    return {**found, "rope_type": kind, "factor": float(scaling["factor"])}


def _whole(config: Mapping[str, Any], key: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        msg = f"The configuration is damaged: {key} is {value!r}."
        raise ConversionError(msg)
    return value
