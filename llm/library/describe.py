"""What a model or adapter is: parameters, format, context, template, origin, and whether it fits into this machine."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.llm.adapter_files import read_config as read_adapter_config
from elysia_chat.llm.adapter_files import read_shapes
from elysia_chat.llm.capacity import Quantization, Size, size_of, text_config
from elysia_chat.llm.checkpoint_files import read_config
from elysia_chat.llm.errors import LibraryError
from elysia_chat.llm.hardware import free_memory, gpu_memory
from elysia_chat.llm.library.contents import Entry, entry_of, find
from elysia_chat.llm.loading import check_folder, load_tokenizer

_FORMATS: tuple[tuple[str, str, Quantization], ...] = (
    ("float32", "float32", "none"),
    ("bfloat16", "bfloat16", "none"),
    ("8bit", "bfloat16", "8bit"),
    ("4bit", "bfloat16", "4bit"),
)


@dataclass(frozen=True)
class Fit:
    """Whether a model fits into this machine's memory in one number format.

    Attributes:
        format: 'float32', 'bfloat16', '8bit' or '4bit'.
        bytes: that are needed, a conversation of usual length included.
        gpu: whether that much is free on one GPU; None where there is none.
        gpus: whether it is free on all of them together.
        memory: whether it is free in main memory; None for formats that are not meant for the CPU.
    """

    format: str
    bytes: int
    gpu: bool | None
    gpus: bool | None
    memory: bool | None


@dataclass(frozen=True)
class ModelFacts:
    """What a model is.

    Attributes:
        entry: where it is, and how it came here.
        architecture: as transformers calls its type.
        parameters: their number.
        dtype: of most weights, as stored.
        context_tokens: longest prompt plus answer; None where the configuration does not tell.
        rope: kind of RoPE where it is scaled, with its factor.
        vocabulary: rows of the embeddings.
        chat_template: whether there is one, without which a model is no chat model.
        fits: by number format.
    """

    entry: Entry
    architecture: str
    parameters: int
    dtype: str
    context_tokens: int | None
    rope: str | None
    vocabulary: int | None
    chat_template: bool
    fits: tuple[Fit, ...]


@dataclass(frozen=True)
class AdapterFacts:
    """What an adapter is.

    Attributes:
        entry: where it is, and how it came here.
        base: the model that it belongs to.
        parameters: their number.
        rank: of its matrices.
        alpha: over the rank it is their strength.
        targets: the layers that it changes.
    """

    entry: Entry
    base: str | None
    parameters: int
    rank: int | None
    alpha: float | None
    targets: tuple[str, ...]


def describe(name: str) -> ModelFacts | AdapterFacts:
    """Return what is known of a model or adapter; no weights are loaded.

    Args:
        name: in the data folder, or a folder.

    Raises:
        LibraryError: there is none of this name.
        ModelLoadError: a model is incomplete or damaged.
        AdapterError: an adapter is.
    """
    folder = Path(name).expanduser()
    entry = entry_of(folder.resolve()) if folder.is_dir() else find(name)
    if entry is None:
        msg = f"{folder} holds neither a model nor an adapter."
        raise LibraryError(msg)
    return _adapter(entry) if entry.kind == "adapter" else _model(entry)


def fits(size: Size) -> tuple[Fit, ...]:
    """Return into what a model fits on this machine, in each number format."""
    gpus, memory = [gpu.free for gpu in gpu_memory()], free_memory()
    found = []
    for label, dtype, quantization in _FORMATS:
        needed = size.needed(dtype, quantization)
        one, together = (max(gpus) >= needed, sum(gpus) >= needed) if gpus else (None, None)
        found.append(Fit(label, needed, one, together, None if quantization != "none" else memory >= needed))
    return tuple(found)


def _model(entry: Entry) -> ModelFacts:
    check_folder(entry.folder)
    config = text_config(read_config(entry.folder))
    size = size_of(entry.folder)
    longest = config.get("max_position_embeddings")
    return ModelFacts(
        entry=entry,
        architecture=str(config["model_type"]),
        parameters=size.parameters,
        dtype=size.dtype,
        context_tokens=longest if isinstance(longest, int) else None,
        rope=_rope(config.get("rope_parameters") or config.get("rope_scaling")),
        vocabulary=config.get("vocab_size"),
        chat_template=bool(load_tokenizer(entry.folder).chat_template),
        fits=fits(size),
    )


def _adapter(entry: Entry) -> AdapterFacts:
    config = read_adapter_config(entry.folder)
    targets = config.get("target_modules") or ()
    return AdapterFacts(
        entry=entry,
        base=config.get("base_model_name_or_path") or None,
        parameters=sum(map(math.prod, read_shapes(entry.folder).values())),
        rank=config.get("r"),
        alpha=config.get("lora_alpha"),
        targets=(targets,) if isinstance(targets, str) else tuple(sorted(targets)),
    )


def _rope(parameters: Any) -> str | None:
    kind = (parameters.get("rope_type") or parameters.get("type")) if isinstance(parameters, dict) else None
    if kind in (None, "default"):
        return None
    factor = parameters.get("factor")
    return f"{kind} ×{factor:g}" if isinstance(factor, (int, float)) else str(kind)
