"""The model that is tuned: found, checked against the preset, loaded, and given its adapter."""

import json
import os
from pathlib import Path
from typing import Any

from elysia_chat.llm.adapter import check_adapter
from elysia_chat.llm.loading import check_folder, find_folder, quiet_progress_bars
from elysia_chat.training.bnb_guard import guard_bitsandbytes
from elysia_chat.training.distributed import is_split
from elysia_chat.training.errors import CheckpointError, PresetError
from elysia_chat.training.presets import Preset

EMBEDDED_NAME = "gemma-3-270m"


def pick_device(preset: Preset) -> Any:
    """Return the device to train on: of several GPUs under torchrun the one of this process.

    Raises:
        PresetError: a GPU is needed and there is none, or the preset does not fit the device.
    """
    import torch

    wanted, four_bits = preset.train.device, preset.model.bits == 4
    if wanted == "cpu" or not torch.cuda.is_available():
        if wanted == "cuda" or (four_bits and wanted != "cpu"):
            what = "4-bit weights (model.bits=4)" if four_bits else "train.device=cuda"
            msg = f"This preset needs a GPU for {what}, and none is found: take one, or {_cpu_way(preset)}."
            raise PresetError(msg)
        if preset.train.optimizer == "paged_adamw_8bit":
            msg = "train.optimizer=paged_adamw_8bit needs a GPU: use train.optimizer=adamw."
            raise PresetError(msg)
        return torch.device("cpu")
    if preset.model.dtype == "bfloat16" and not torch.cuda.is_bf16_supported():
        msg = "This GPU does not compute in bfloat16: use model.dtype=float32."
        raise PresetError(msg)
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    torch.cuda.set_device(device)
    return device


def _cpu_way(preset: Preset) -> str:
    if preset.model.bits == 4:
        return "try it on the CPU with train.device=cpu model.dtype=float32 (slow)"
    return "use train.device=cpu"


def base_source(name: str) -> str:
    """Return where the base model lies: the embedded one by its name, a folder, a converted model, or a hub name.

    Raises:
        PresetError: there is no such model here, and it is no hub name.
    """
    if name == "embedded":
        from elysia_chat.llm.embedded import embedded_model_folder

        return str(embedded_model_folder())
    folder = find_folder(name)
    if folder is not None:
        return str(folder)
    if name.count("/") == 1 and not name.startswith((".", "/", "~")):
        return name
    msg = (
        f"There is no model to train called '{name}' here: give its folder with model.name=FOLDER, "
        "or bring it in first: elysia-chat models add NAME."
    )
    raise PresetError(msg)


def base_name(preset: Preset, source: str) -> str:
    """Return what the adapter calls its base model: a name, no path of this machine."""
    if preset.model.name == "embedded":
        return EMBEDDED_NAME
    return source if find_folder(source) is None else Path(source).resolve().name


def check_base(source: str) -> None:
    """Check that a model is whole and in a form that transformers reads by itself.

    Raises:
        PresetError: it is InternLM2 as it was published.
        ModelLoadError: it is missing a part.
    """
    folder = find_folder(source)
    if folder is not None:
        check_unconverted(folder)
        check_folder(folder)


def check_unconverted(folder: Path) -> None:
    """Refuse InternLM2's own weights, which need code from outside.

    Raises:
        PresetError: they are in the folder.
    """
    try:
        kind = json.loads((folder / "config.json").read_text(encoding="utf-8")).get("model_type")
    except (OSError, ValueError, AttributeError):
        return
    if kind == "internlm2":
        msg = f"{folder} holds InternLM2 as it was published: convert it first with: elysia-chat models add {folder}"
        raise PresetError(msg)


def check_shape(model: Any, preset: Preset, name: str) -> None:
    """Check a model without its weights against the preset, and the adapter to go on from against both.

    Raises:
        PresetError: it is of another family, or has no layer of a name in `lora.targets`.
        AdapterError: `lora.start` was made for another model than the one of this name.
        CheckpointError: `lora.start` is no adapter.
    """
    kind, wanted = model.config.model_type, preset.model.family
    if wanted and kind != wanted:
        msg = (
            f"This preset is for another model: it was made for the family {wanted}, and {preset.model.name} is "
            f"{kind}. Take a preset of its family, or say model.family={kind}."
        )
        raise PresetError(msg)
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = sorted(set(preset.lora.targets) - present)
    if missing:
        msg = f"This preset is for another model: it has no layers called {', '.join(missing)} (lora.targets)."
        raise PresetError(msg)
    if preset.lora.start:
        if not (Path(preset.lora.start) / "adapter_config.json").is_file():
            msg = f"Cannot go on from the adapter {preset.lora.start}: there is none in that folder."
            raise CheckpointError(msg)
        check_adapter(Path(preset.lora.start), model, name)


def load_base(source: str, preset: Preset, device: Any) -> tuple[Any, Any]:
    """Load tokenizer and frozen model, in 4 bits where the preset says so.

    Raises:
        PresetError: there is no model, or bitsandbytes is missing.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    dtype = getattr(torch, preset.model.dtype)
    how: dict[str, Any] = {"dtype": dtype, "attn_implementation": preset.model.attention, "use_safetensors": True}
    if preset.model.bits == 4:
        guard_bitsandbytes()
        how["device_map"] = {"": device}
        how["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    try:
        with quiet_progress_bars():
            tokenizer = AutoTokenizer.from_pretrained(source)
            model = AutoModelForCausalLM.from_pretrained(source, **how)
    except (OSError, ValueError, ImportError) as error:
        msg = f"There is no model to train in '{source}': {str(error).splitlines()[0]}"
        raise PresetError(msg) from error
    model.config.use_cache = False
    return tokenizer, model if preset.model.bits == 4 else model.to(device)


def add_adapter(model: Any, preset: Preset) -> Any:
    """Put LoRA weights in float32 on the model's linear layers.

    Raises:
        CheckpointError: the adapter to go on from cannot be read.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    lora = preset.lora
    if preset.train.gradient_checkpointing:
        # What ZeRO-3 gathers and gives back between the two passes looks changed to the newer way.
        model.activation_checkpointing_enable({"use_reentrant": is_split(preset)})
        model.enable_input_require_grads()
    if lora.start:
        try:
            tuned = PeftModel.from_pretrained(model, lora.start, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            msg = f"Cannot go on from the adapter {lora.start}: {str(error).splitlines()[0]}"
            raise CheckpointError(msg) from error
        # By the name alone peft would look the base up on a hub whenever it saves.
        tuned.active_peft_config.base_model_name_or_path = model.name_or_path
    else:
        config = LoraConfig(
            r=lora.r,
            lora_alpha=lora.alpha,
            lora_dropout=lora.dropout,
            target_modules=list(lora.targets),
            bias="none",
            task_type="CAUSAL_LM",
        )
        tuned = get_peft_model(model, config)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    if preset.train.compile:
        for layer in model.get_decoder().layers:
            layer.compile(dynamic=True)
    return tuned
