"""Writes a merged model as GGUF, the one-file format of llama.cpp, in 16, 8 or 4 bits.

Llama (and InternLM2, which is converted to Llama) and Gemma 3 are known. Names and layout are those that llama.cpp
loads: for Llama the rows of each query and key head are interleaved, for Gemma 3 the norms are stored plus one.
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from elysia_chat.configs.files import check_free, check_target, writing_errors
from elysia_chat.llm.errors import GgufError
from elysia_chat.llm.gguf_tokenizer import GgufTokenizer, read_tokenizer
from elysia_chat.llm.loading import check_folder

Kind = Literal["f16", "q8_0", "q4_0"]
_BITS = {"f16": 16.0, "q8_0": 8.5, "q4_0": 4.5}
_BLOCK = 32
# Embeddings and head stay in 8 bits where the rest has 4: every token passes through them.
_ENDS = ("token_embd.weight", "output.weight")
_SWA_PERIOD = 6
Array = NDArray[Any]


@dataclass(frozen=True)
class GgufReport:
    """The file that was written: its kind, size in bytes, and number of tensors."""

    path: str
    kind: Kind
    bytes: int
    tensors: int


def export_gguf(
    folder: Path,
    output: Path,
    kind: Kind = "q8_0",
    *,
    name: str | None = None,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda _share: None,
) -> GgufReport:
    """Write the model in a folder as one GGUF file.

    Args:
        folder: transformers model with safetensors and `tokenizer.json`.
        output: the file; it appears only when it is complete.
        kind: "f16", "q8_0" (8 bits) or "q4_0" (4 bits, embeddings and head in 8). Rows whose length is no multiple of
            32 stay in 16 bits.
        name: of the model; unset: the folder's.
        overwrite: replace a file that is there.
        progress: told the share of tensors written.

    Raises:
        GgufError: the architecture or tokenizer is not known, the disk has no room, or the file exists.
        ModelLoadError: the folder is no complete model.
    """
    import gguf

    check_folder(folder)
    check_target(output, overwrite, GgufError)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    architecture = _architecture(config)
    shapes = _shapes(folder)
    check_free(output, int(sum(map(math.prod, shapes.values())) * _BITS[kind] / 8), GgufError)
    rows = next(shape[0] for key, shape in shapes.items() if key.endswith("embed_tokens.weight"))
    tokenizer = read_tokenizer(folder, rows, _ends(folder))
    names = {key: _gguf_name(key, config, architecture) for key in shapes}

    part = output.with_name(f".{output.name}.part")
    with writing_errors(output, GgufError):
        output.parent.mkdir(parents=True, exist_ok=True)
        writer = gguf.GGUFWriter(part, architecture)
        try:
            _write_settings(writer, config, architecture, name or folder.name, kind)
            _write_tokenizer(writer, tokenizer)
            for key, shape in shapes.items():
                _announce(writer, names[key], shape, _tensor_kind(names[key], shape, kind))
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_ti_data_to_file()
            for number, (key, values) in enumerate(_tensors(folder, list(shapes)), 1):
                values = _layout(key, values, config, architecture)
                writer.write_tensor_data(_encode(values, _tensor_kind(names[key], values.shape, kind)))
                progress(number / len(shapes))
            writer.close()
            part.replace(output)
        finally:
            writer.close()
            part.unlink(missing_ok=True)
    return GgufReport(str(output), kind, output.stat().st_size, len(shapes))


def _architecture(config: Mapping[str, Any]) -> Literal["llama", "gemma3"]:
    kind = config["model_type"]
    if kind == "llama":
        _rope_scaling(config)
        return "llama"
    if kind == "gemma3_text":
        layers = config["num_hidden_layers"]
        wanted = ["full_attention" if (n + 1) % _SWA_PERIOD == 0 else "sliding_attention" for n in range(layers)]
        if config.get("layer_types", wanted) == wanted and config["query_pre_attn_scalar"] == config["head_dim"]:
            return "gemma3"
    msg = f"A model of type {kind} with these layers cannot be written as GGUF here; known are llama and gemma3_text."
    raise GgufError(msg)


def _rope_scaling(config: Mapping[str, Any]) -> float | None:
    """Return the factor of linear RoPE scaling, or None: dynamic scaling begins beyond the trained length only."""
    parameters = config.get("rope_parameters") or {}
    kind = parameters.get("rope_type", "default")
    if kind in ("default", "dynamic"):
        return None
    if kind == "linear":
        return float(parameters["factor"])
    msg = f"RoPE of type {kind} cannot be written as GGUF here: convert this model with llama.cpp's own script."
    raise GgufError(msg)


def _write_settings(writer: Any, config: Mapping[str, Any], architecture: str, name: str, kind: Kind) -> None:
    import gguf

    heads = config["num_attention_heads"]
    head_dim = config.get("head_dim") or config["hidden_size"] // heads
    file_type = {"f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0", "q4_0": "MOSTLY_Q4_0"}[kind]
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(name)
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads") or heads)
    writer.add_key_length(head_dim)
    writer.add_value_length(head_dim)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    rope = config.get("rope_parameters") or {}
    if architecture == "gemma3":
        writer.add_rope_freq_base(float(rope["full_attention"]["rope_theta"]))
        writer.add_rope_freq_base_swa(float(rope["sliding_attention"]["rope_theta"]))
        writer.add_sliding_window(config["sliding_window"])
        if config.get("final_logit_softcapping"):
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
        return
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_rope_dimension_count(head_dim)
    factor = _rope_scaling(config)
    if factor is not None:
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(factor)


def _write_tokenizer(writer: Any, tokenizer: GgufTokenizer) -> None:
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokenizer.pieces)
    writer.add_token_scores(tokenizer.scores)
    writer.add_token_types(tokenizer.types)
    writer.add_add_space_prefix(tokenizer.space_prefix)
    writer.add_add_bos_token(tokenizer.bos_first)
    writer.add_add_eos_token(False)
    for add, number in (
        (writer.add_bos_token_id, tokenizer.bos),
        (writer.add_eos_token_id, tokenizer.eos),
        (writer.add_unk_token_id, tokenizer.unknown),
        (writer.add_pad_token_id, tokenizer.padding),
        (writer.add_eot_token_id, tokenizer.end_of_turn),
    ):
        if number is not None:
            add(number)
    if tokenizer.chat_template is not None:
        writer.add_chat_template(tokenizer.chat_template)


def _gguf_name(key: str, config: Mapping[str, Any], architecture: str) -> str:
    import gguf

    arch = gguf.MODEL_ARCH.GEMMA3 if architecture == "gemma3" else gguf.MODEL_ARCH.LLAMA
    found = gguf.get_tensor_name_map(arch, config["num_hidden_layers"]).get_name(key, (".weight", ".bias"))
    if found is None:
        msg = f"The weight {key} has no place in GGUF: the model is not a plain {architecture}."
        raise GgufError(msg)
    return str(found)


def _layout(key: str, values: Array, config: Mapping[str, Any], architecture: str) -> Array:
    """Bring a tensor into the layout that llama.cpp computes with."""
    if architecture == "gemma3":
        return values + 1.0 if key.endswith("norm.weight") else values
    for part, heads in (("q_proj", config["num_attention_heads"]), ("k_proj", config.get("num_key_value_heads"))):
        if f".{part}." in key:
            count = heads or config["num_attention_heads"]
            halves = values.reshape(count, 2, values.shape[0] // count // 2, *values.shape[1:])
            return halves.swapaxes(1, 2).reshape(values.shape)
    return values


def _tensor_kind(name: str, shape: tuple[int, ...], kind: Kind) -> str:
    if len(shape) == 1:
        return "f32"
    if kind == "f16" or shape[-1] % _BLOCK:
        return "f16"
    return "q8_0" if name in _ENDS else kind


def _announce(writer: Any, name: str, shape: tuple[int, ...], kind: str) -> None:
    import gguf

    qtype = gguf.GGMLQuantizationType[kind.upper()]
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    plain = {"f32": np.dtype(np.float32), "f16": np.dtype(np.float16)}.get(kind)
    nbytes = math.prod(shape) // block * size
    if plain is not None:
        writer.add_tensor_info(name, shape, plain, nbytes)
    else:
        packed = (*shape[:-1], shape[-1] // block * size)
        writer.add_tensor_info(name, packed, np.dtype(np.uint8), nbytes, raw_dtype=qtype)


def _encode(values: Array, kind: str) -> Array:
    import gguf

    if kind == "f16":
        largest = float(np.abs(values).max(initial=0.0))
        if largest > float(np.finfo(np.float16).max):
            msg = f"A weight of {largest:.0f} does not fit into 16-bit floats: choose q8_0."
            raise GgufError(msg)
    encoded: Array = gguf.quants.quantize(np.ascontiguousarray(values), gguf.GGMLQuantizationType[kind.upper()])
    return encoded


def _weight_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        listed = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        return [folder / file for file in sorted(set(listed.values()))]
    return [folder / "model.safetensors"]


def _shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    from safetensors import safe_open

    shapes: dict[str, tuple[int, ...]] = {}
    for path in _weight_files(folder):
        with safe_open(path, framework="pt") as weights:
            shapes.update({key: tuple(weights.get_slice(key).get_shape()) for key in sorted(weights.keys())})
    return shapes


def _tensors(folder: Path, keys: list[str]) -> Iterator[tuple[str, Array]]:
    """Yield the tensors in the order of `keys`, which is that of the files, one at a time in float32."""
    from safetensors import safe_open

    wanted = iter(keys)
    for path in _weight_files(folder):
        with safe_open(path, framework="pt") as weights:
            for _ in range(len(weights.keys())):
                key = next(wanted)
                yield key, weights.get_tensor(key).float().numpy()


def _ends(folder: Path) -> list[int]:
    try:
        ends = json.loads((folder / "generation_config.json").read_text(encoding="utf-8")).get("eos_token_id")
    except (OSError, ValueError):
        return []
    return ends if isinstance(ends, list) else [ends] if isinstance(ends, int) else []
