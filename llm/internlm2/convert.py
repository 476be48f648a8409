"""A published InternLM2 folder to one that transformers loads by itself."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elysia_chat.llm.checkpoint_files import read_config
from elysia_chat.llm.errors import ConversionError, ModelLoadError
from elysia_chat.llm.internlm2.config import MODEL_TYPE, convert_config
from elysia_chat.llm.internlm2.tokenizer import TURN_END, convert_tokenizer
from elysia_chat.llm.internlm2.weights import SHARD_BYTES, convert_weights

RECIPE = 1
"""Raised whenever the conversion writes something else."""


def is_internlm2(folder: Path) -> bool:
    """Tell whether a folder holds InternLM2 as it was published."""
    try:
        return bool(read_config(folder).get("model_type") == MODEL_TYPE)
    except ModelLoadError:
        return False


def convert_model(
    source: Path,
    target: Path,
    *,
    shard_bytes: int = SHARD_BYTES,
    progress: Callable[[float], None] = lambda _share: None,
) -> None:
    """Write an InternLM2 as a Llama: configuration, tokenizer, generation settings, weights in safetensors.

    Args:
        source: published folder, or one that a fine-tune was merged into.
        target: folder to write into; what is left there after an error is incomplete.
        shard_bytes: about how large a file may become; it is held in memory while it is made.
        progress: told the share done.

    Raises:
        ModelLoadError: a file is missing, cut off, or holds something else than it should.
        ConversionError: it is no InternLM2 that writes text, or its parts do not go together.
    """
    published = read_config(source)
    config = convert_config(published)
    tokenizer = convert_tokenizer(source, target, config["vocab_size"])
    generation = _generation_settings(source, config, tokenizer)
    _write_json(target / "config.json", config)
    _write_json(target / "generation_config.json", generation)
    convert_weights(source, target, config, shard_bytes=shard_bytes, progress=progress)


def _generation_settings(source: Path, config: Mapping[str, Any], tokenizer: Any) -> dict[str, Any]:
    """Return the folder's own settings, with the end of a turn among the end tokens."""
    own: dict[str, Any] = {}
    if (source / "generation_config.json").is_file():
        try:
            own = dict(json.loads((source / "generation_config.json").read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            msg = f"{source / 'generation_config.json'} is damaged: copy the model again."
            raise ConversionError(msg) from error
    given = own.get("eos_token_id", config["eos_token_id"])
    ends = [given] if isinstance(given, int) else list(given or ())
    turn_end = tokenizer.convert_tokens_to_ids(TURN_END) if tokenizer.chat_template else None
    if turn_end is not None and turn_end != tokenizer.unk_token_id:
        ends.append(turn_end)
    own.pop("transformers_version", None)
    return {
        "bos_token_id": config["bos_token_id"],
        "pad_token_id": config["pad_token_id"],
        **own,
        "eos_token_id": sorted(set(ends)),
    }


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
