"""Model folders and hub names to a model in memory, with every failure as one line."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elysia_chat.configs.paths import models_dir
from elysia_chat.llm.adapter import check_adapter, merge_adapter
from elysia_chat.llm.errors import AdapterError, ModelLoadError
from elysia_chat.llm.hardware import choose_device, choose_dtype

WEIGHTS = "*.safetensors"
TOKENIZERS = ("tokenizer.*", "vocab.*", "*.model", "*.tiktoken", "tekken.json")


def find_folder(name: str) -> Path | None:
    """Return the folder that a model's name means: a path, or a folder among the converted models."""
    for folder in (Path(name).expanduser(), models_dir() / name):
        if folder.is_dir():
            return folder
    return None


def check_folder(folder: Path) -> None:
    """Check that a folder holds a whole transformers model; reads heads of files, not their weights.

    Raises:
        ModelLoadError: a file is missing or cut off.
    """
    from safetensors import SafetensorError, safe_open

    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder} is no model: its config.json is missing or damaged."
        raise ModelLoadError(msg) from error
    if not isinstance(config, dict) or "model_type" not in config:
        msg = f"{folder} is no model: its config.json names no model_type."
        raise ModelLoadError(msg)
    if not any(any(folder.glob(pattern)) for pattern in TOKENIZERS):
        # transformers would make an empty tokenizer of the model's kind, without a word.
        msg = f"{folder} holds no tokenizer: copy the model's tokenizer files into it."
        raise ModelLoadError(msg)
    weights = {*folder.glob(WEIGHTS), *_indexed_files(folder)}
    if not weights:
        other = " Its weights are pickled (.bin), which can run code: save them as safetensors." * any(
            folder.glob("*.bin")
        )
        msg = f"{folder} holds no safetensors weights.{other}"
        raise ModelLoadError(msg)
    for path in sorted(weights):
        try:
            with safe_open(path, framework="pt"):
                pass
        except (OSError, SafetensorError) as error:
            msg = f"{path} is missing, cut off or damaged: copy or convert the model again."
            raise ModelLoadError(msg) from error


def load_model(name: str, adapter: Path | None, dtype: str, device: str) -> tuple[Any, Any]:
    """Return a causal language model in evaluation mode, and its tokenizer.

    Args:
        name: folder or hub name.
        adapter: PEFT folder that is merged into the model.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
        device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.

    Raises:
        ModelLoadError: the model cannot be loaded.
        AdapterError: the adapter cannot be read or belongs to another model.
    """
    folder = find_folder(name)
    if folder is not None:
        check_folder(folder)
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    model, tokenizer = _load(str(folder or name), "auto" if adapter is not None else kind)
    if adapter is not None:
        if getattr(model.config, "quantization_config", None) is not None:
            msg = f"{name} is quantised: an adapter cannot be merged into it. Merge it into the 16-bit model first."
            raise AdapterError(msg)
        check_adapter(adapter, model, folder.name if folder is not None else name)
        model = merge_adapter(adapter, model)
        _round_parameters(model, kind)
    return model.to(target).eval(), tokenizer


def load_tokenizer(source: str | Path) -> Any:
    """Return the tokenizer of a folder or hub name.

    Raises:
        ModelLoadError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _one_line_errors(str(source)):
        return AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)


def _load(source: str, dtype: "Any") -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    with _one_line_errors(source), quiet_progress_bars():
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True
        )
    if report["missing_keys"]:
        msg = f"The weights of {source} are incomplete: {sorted(report['missing_keys'])[0]} is missing."
        raise ModelLoadError(msg)
    return model, tokenizer


def _round_parameters(model: Any, dtype: Any) -> None:
    """Round the parameters alone: buffers such as RoPE's frequencies stay in float32, as when loading in `dtype`."""
    for parameter in model.parameters():
        parameter.data = parameter.data.to(dtype)
    model.config.dtype = dtype


def _indexed_files(folder: Path) -> list[Path]:
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return []
    try:
        return [folder / file for file in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()]
    except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        msg = f"{index} is damaged: copy the model again."
        raise ModelLoadError(msg) from error


@contextmanager
def _one_line_errors(source: str) -> Iterator[None]:
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        ImportError,
        SafetensorError,
    ) as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        msg = f"Cannot load the model {source}: {lines[0] if lines else type(error).__name__}"
        raise ModelLoadError(msg) from error


@contextmanager
def quiet_progress_bars() -> Iterator[None]:
    """Hide transformers' own progress bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
