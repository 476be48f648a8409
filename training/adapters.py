"""Adapters and the models they belong to: loaded together as they were trained, unmerged."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from elysia_chat.llm.adapter import check_adapter
from elysia_chat.llm.errors import ModelLoadError
from elysia_chat.llm.hardware import choose_device, choose_dtype
from elysia_chat.llm.loading import check_folder, find_folder, load_model, quiet_progress_bars
from elysia_chat.training.errors import CheckpointError
from elysia_chat.training.handover_errors import MergeError

Bits = Literal[4, 16]
SETTINGS = "training.yaml"
"""Resolved settings of a run, in its folder and beside its adapter; `model.bits` is 4 where the base was in 4 bits."""


def base_of(adapter: Path) -> str:
    """Return the name of the model that an adapter was trained on, as its own file gives it.

    Raises:
        CheckpointError: the folder holds no adapter, or one that names no base.
    """
    name = _config(adapter).get("base_model_name_or_path")
    if not name:
        msg = f"The adapter {adapter} does not name its base model: give it."
        raise CheckpointError(msg)
    return str(name)


def public_name(name: str) -> str:
    """Return a model's name without the folders of this machine."""
    return Path(name).name if Path(name).exists() or Path(name).is_absolute() else name


def trained_bits(adapter: Path) -> Bits:
    """Return whether an adapter was trained on 4-bit or on 16-bit weights, by the settings saved with it.

    Raises:
        MergeError: nothing beside the adapter tells.
    """
    import yaml

    for folder in (adapter, adapter.resolve().parent):
        try:
            settings = yaml.safe_load((folder / SETTINGS).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError):
            continue
        part = settings.get("model") if isinstance(settings, Mapping) else None
        if isinstance(part, Mapping):
            return 4 if part.get("bits") == 4 else 16
    msg = f"Nothing beside {adapter} says how its base was loaded: say whether it was trained on 4 or 16 bits."
    raise MergeError(msg)


def load_base(name: str, *, bits: Bits = 16, dtype: str = "auto", device: str = "auto") -> tuple[Any, Any]:
    """Return a base model in evaluation mode and its tokenizer.

    Args:
        name: folder or hub name.
        bits: 16 loads the weights as they are, in `dtype`; 4 quantises them to NF4 with double quantisation.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'; of the computation where `bits` is 4.
        device: 'auto', 'cpu', 'cuda', 'cuda:1'.

    Raises:
        ModelLoadError: the model cannot be loaded.
        PresetError: bitsandbytes is missing.
    """
    if bits == 16:
        return load_model(name, None, dtype, device)
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from elysia_chat.training.bnb_guard import guard_bitsandbytes

    guard_bitsandbytes()
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    folder = find_folder(name)
    if folder is not None:
        check_folder(folder)
    source = str(folder or name)
    with quiet_progress_bars(), _one_line_errors(source):
        model = AutoModelForCausalLM.from_pretrained(
            source,
            dtype=kind,
            use_safetensors=True,
            device_map={"": target},
            quantization_config=BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=kind,
            ),
        )
        tokenizer = AutoTokenizer.from_pretrained(source)
    return model.eval(), tokenizer


def check_belongs(adapter: Path, base: str) -> None:
    """Check that an adapter is whole and belongs to a base, without loading the weights of either.

    Raises:
        AdapterError: it is cut short, or was made for another model.
        ModelLoadError: the base cannot be read.
    """
    folder = find_folder(base)
    if folder is not None:
        check_folder(folder)
    check_adapter(adapter, empty_model(base), folder.name if folder is not None else base)


def empty_model(name: str) -> Any:
    """Return a model without its weights: the shape of each matrix, and the configuration.

    Raises:
        ModelLoadError: there is no such model, or its architecture is not known.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with _one_line_errors(name), torch.device("meta"):
        return AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(str(find_folder(name) or name)))


def attach(adapter: Path, model: Any) -> Any:
    """Return the model with an adapter on it, unmerged, in evaluation mode.

    Raises:
        CheckpointError: peft cannot read the adapter.
    """
    from peft import PeftModel

    try:
        return PeftModel.from_pretrained(model, str(adapter), is_trainable=False).eval()
    except (ValueError, RuntimeError, KeyError, TypeError, OSError) as error:
        msg = f"Cannot read the adapter {adapter}: {str(error).splitlines()[0]}"
        raise CheckpointError(msg) from error


@contextmanager
def _one_line_errors(source: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        msg = f"Cannot load the model {source}: {(str(error).strip() or type(error).__name__).splitlines()[0]}"
        raise ModelLoadError(msg) from error


def _config(adapter: Path) -> dict[str, Any]:
    try:
        config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{adapter} is no adapter: its adapter_config.json is missing or damaged."
        raise CheckpointError(msg) from error
    if not isinstance(config, dict):
        msg = f"{adapter} is no adapter: its adapter_config.json holds no settings."
        raise CheckpointError(msg)
    return config
