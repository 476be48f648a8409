"""Model folders and hub names to a model in memory, with every failure as one line."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.paths import models_dir
from elysia_chat.llm.adapter import attach_adapter, check_adapter, fitting_adapter, merge_adapter
from elysia_chat.llm.capacity import Quantization, Size, size_of
from elysia_chat.llm.checkpoint_files import indexed_names, read_config
from elysia_chat.llm.errors import AdapterError, ModelLoadError
from elysia_chat.llm.hardware import Placement, choose_device, choose_dtype, choose_placement
from elysia_chat.llm.library.record import read_record
from elysia_chat.llm.quantization import check_quantization, quantization_config

if TYPE_CHECKING:
    import torch

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

    if read_config(folder)["model_type"] == "internlm2":
        msg = f"{folder} holds InternLM2 as it was published: bring it in with: elysia-chat models add {folder}"
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


def load_model(
    name: str, adapter: Path | None, dtype: str, device: str, quantization: Quantization = "none"
) -> tuple[Any, Any]:
    """Return a causal language model in evaluation mode, and its tokenizer.

    Args:
        name: folder or hub name.
        adapter: PEFT folder that is merged into the model, or put beside its weights where they are quantised.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
        device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'; 'auto' takes several GPUs where the model needs them.
        quantization: '8bit' or '4bit' makes the weights smaller while they are loaded.

    Raises:
        ModelLoadError: the model cannot be loaded, or needs more GPU memory than there is.
        AdapterError: the adapter cannot be read or belongs to another model.
    """
    folder = find_folder(name)
    if folder is not None:
        check_folder(folder)
    target = choose_device(device)
    check_quantization(quantization, device, target)
    kind = choose_dtype(dtype, target)
    size = _size(folder, name, quantization)
    placement = choose_placement(name, device, str(kind).removeprefix("torch."), quantization, size)
    # An adapter is merged into the weights as they are stored, and rounded once.
    loaded_as = "auto" if adapter is not None and quantization == "none" else kind
    model, tokenizer = _load(str(folder or name), loaded_as, placement, quantization_config(quantization, kind))
    if adapter is not None:
        model = _with_adapter(model, adapter, folder, name, quantization, kind)
    if placement.device_map is None and quantization == "none":
        model = model.to(placement.device)
    return model.eval(), tokenizer


def _size(folder: Path | None, name: str, quantization: Quantization) -> Size | None:
    if folder is None:
        return None
    if "quantization_config" in read_config(folder):
        if quantization != "none":
            msg = f"{name} is quantised already: set model.quantization=none."
            raise ModelLoadError(msg)
        return None
    return size_of(folder)


def _with_adapter(
    model: Any, adapter: Path, folder: Path | None, name: str, quantization: Quantization, dtype: "torch.dtype"
) -> Any:
    if quantization == "none" and getattr(model.config, "quantization_config", None) is not None:
        msg = f"{name} is quantised: an adapter cannot be merged into it. Merge it into the 16-bit model first."
        raise AdapterError(msg)
    record = read_record(folder) if folder is not None else None
    other_names = (record.short_name,) if record is not None else ()
    with fitting_adapter(adapter, model) as fitting:
        check_adapter(fitting, model, folder.name if folder is not None else name, also_called=other_names)
        if quantization != "none":
            return attach_adapter(fitting, model)
        merged = merge_adapter(fitting, model, dtype)
    _round_parameters(merged, dtype)
    return merged


def load_tokenizer(source: str | Path) -> Any:
    """Return the tokenizer of a folder or hub name.

    Raises:
        ModelLoadError: it cannot be loaded.
    """
    from transformers import AutoTokenizer

    with _one_line_errors(str(source)):
        return AutoTokenizer.from_pretrained(str(source), trust_remote_code=False)


def _load(source: str, dtype: Any, placement: Placement, quantised: Any) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    how: dict[str, Any] = {"device_map": placement.device_map or ({"": placement.device} if quantised else None)}
    if placement.max_memory is not None:
        how["max_memory"] = placement.max_memory
    if quantised is not None:
        how["quantization_config"] = quantised
    with _one_line_errors(source), quiet_progress_bars(), warnings.catch_warnings():
        # bitsandbytes tells at every 8-bit layer that it computes in float16.
        warnings.filterwarnings("ignore", "MatMul8bitLt: inputs will be cast")
        tokenizer = AutoTokenizer.from_pretrained(source, trust_remote_code=False)
        model, report = AutoModelForCausalLM.from_pretrained(
            source, dtype=dtype, use_safetensors=True, trust_remote_code=False, output_loading_info=True, **how
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
    return [folder / name for name in indexed_names(index)] if index.is_file() else []


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
        if "custom code" in str(error) or "trust_remote_code" in str(error):
            msg = f"{source} needs code of its own, which is never run; InternLM2: elysia-chat models add {source}"
            raise ModelLoadError(msg) from error
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
