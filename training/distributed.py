"""Several GPUs: torchrun starts one process for each, and DeepSpeed's ZeRO splits what they hold."""

import importlib.util
import json
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import Preset

BUILT_IN = ("zero2", "zero3")


def is_main_process() -> bool:
    """Tell whether this process is the one that speaks and writes, by torchrun's environment."""
    return int(os.environ.get("RANK", "0")) == 0


def deepspeed_settings(preset: Preset) -> dict[str, Any] | None:
    """Return the DeepSpeed settings of a preset, None where it asks for none.

    Raises:
        PresetError: DeepSpeed is not installed, the settings cannot be read, or they do not fit the preset.
    """
    settings = _read(preset.train.deepspeed)
    if settings is None:
        return None
    if _stage(settings) == 3 and preset.model.bits == 4:
        msg = "DeepSpeed's ZeRO-3 does not split 4-bit weights here: use train.deepspeed=zero2, or model.bits=16."
        raise PresetError(msg)
    if _stage(settings) == 3 and preset.evaluate.prompts:
        msg = "With ZeRO-3 no process holds a whole model to answer evaluate.prompts: evaluate the result instead."
        raise PresetError(msg)
    if importlib.util.find_spec("deepspeed") is None:
        msg = (
            "train.deepspeed needs DeepSpeed, which is not installed: pip install deepspeed (it compiles at first use)."
        )
        raise PresetError(msg)
    return settings


def is_split(preset: Preset) -> bool:
    """Tell whether the model's weights are split among the processes (ZeRO-3)."""
    settings = _read(preset.train.deepspeed)
    return settings is not None and _stage(settings) == 3


def _read(name: str) -> dict[str, Any] | None:
    if not name:
        return None
    source: Any = Path(name)
    if name in BUILT_IN:
        source = files("elysia_chat.configs").joinpath("training", "deepspeed", f"{name}.json")
    try:
        settings = json.loads(source.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"train.deepspeed must be {', '.join(BUILT_IN)} or a JSON file; '{name}' cannot be read: {error}."
        raise PresetError(msg) from error
    if not isinstance(settings, dict):
        msg = f"The DeepSpeed settings in {name} must be keys with values."
        raise PresetError(msg)
    return settings


def _stage(settings: dict[str, Any]) -> int:
    part = settings.get("zero_optimization")
    return int(part.get("stage", 0)) if isinstance(part, dict) else 0
