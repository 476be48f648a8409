"""Presets of training: what is trained on what, and how. Read from YAML, changed by `key=value`."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from elysia_chat.training.errors import PresetError

SEVEN_LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


@dataclass(frozen=True)
class ModelPart:
    """The model that is tuned.

    Attributes:
        name: "embedded", or a folder, a converted model or a hub name that transformers loads.
        dtype: of the frozen weights, and of the computation: "bfloat16", "float16" or "float32".
        attention: attention implementation of transformers.
        bits: 16 keeps the weights as they are; 4 quantises them to NF4 with double quantisation (QLoRA).
        family: `model_type` that the preset was made for; "" takes any.
    """

    name: str = "embedded"
    dtype: str = "bfloat16"
    attention: str = "sdpa"
    bits: int = 16
    family: str = ""


@dataclass(frozen=True)
class DataPart:
    """The examples.

    Attributes:
        train: a JSONL file of examples, as `build_dataset` and the imports write it, or a folder that holds one with
            its `test.jsonl`; a text file, or a folder of them, for incremental pre-training.
        test: examples whose loss is measured at every checkpoint; "" for none, or for those in the folder.
        test_sequences: at most so many of them.
        max_tokens: longer examples are left out and counted; longer texts are cut.
        packing: join sequences up to `max_tokens`, each one masked from the others.
    """

    train: str = ""
    test: str = ""
    test_sequences: int = 200
    max_tokens: int = 2048
    packing: bool = False


@dataclass(frozen=True)
class LoraPart:
    """The adapter.

    Attributes:
        r: rank.
        alpha: the scale is alpha / r.
        dropout: on the input of the adapter.
        targets: names of the linear layers that get one.
        start: folder of an adapter to go on from; "" for a fresh one. Its own rank, scale and layers hold.
    """

    r: int = 64
    alpha: int = 64
    dropout: float = 0.0
    targets: tuple[str, ...] = SEVEN_LINEARS
    start: str = ""


@dataclass(frozen=True)
class TrainPart:
    """The optimisation.

    Attributes:
        learning_rate: at its highest; cosine to `end_share` of it after a linear warm-up.
        warmup_share: of all steps.
        batch_tokens: budget of a batch, padding included.
        accumulation: batches a step.
        epochs: passes over the data.
        max_steps: stop after so many steps; 0: none but the epochs.
        seconds: end the run after so many, the learning rate brought down in time; 0: no limit.
        weight_decay: of AdamW.
        max_grad_norm: gradients are scaled down to this norm.
        non_finite_patience: steps in a row with a loss or gradient that is not finite before training stops.
        device: "auto", "cpu" or "cuda".
        optimizer: "adamw", "paged_adamw_8bit" (bitsandbytes, GPU), or "auto": the latter for 4 bits on a GPU.
        gradient_checkpointing: compute activations twice and keep few of them: a third slower, far less memory.
        compile: compile the layers, which takes a minute and about halves the time of a step on a GPU.
        deepspeed: "zero2", "zero3" or a DeepSpeed settings file; "" for none.
    """

    learning_rate: float = 4e-4
    warmup_share: float = 0.03
    end_share: float = 0.0
    batch_tokens: int = 32768
    accumulation: int = 1
    epochs: float = 1.0
    max_steps: int = 0
    seconds: float = 0.0
    weight_decay: float = 0.0
    beta2: float = 0.99
    max_grad_norm: float = 1.0
    non_finite_patience: int = 5
    seed: int = 1
    save_steps: int = 500
    save_limit: int = 2
    log_steps: int = 10
    device: str = "auto"
    optimizer: str = "auto"
    gradient_checkpointing: bool = False
    compile: bool = False
    deepspeed: str = ""


@dataclass(frozen=True)
class EvaluatePart:
    """Prompts that are answered as it trains.

    Attributes:
        prompts: a JSONL file with messages, and any_of or refuse; "" for none, or for those in the data's folder.
        every: steps between answers; 0: at the end only.
        limit: at most so many prompts.
        max_new_tokens: of an answer.
        batch: prompts at a time.
    """

    prompts: str = ""
    every: int = 0
    limit: int = 40
    max_new_tokens: int = 96
    batch: int = 64


@dataclass(frozen=True)
class Preset:
    """A whole run."""

    model: ModelPart = field(default_factory=ModelPart)
    data: DataPart = field(default_factory=DataPart)
    lora: LoraPart = field(default_factory=LoraPart)
    train: TrainPart = field(default_factory=TrainPart)
    evaluate: EvaluatePart = field(default_factory=EvaluatePart)

    def to_dict(self) -> dict[str, Any]:
        """Return the resolved settings."""
        return asdict(self)


def preset_names() -> list[str]:
    """Return the names of the presets that come with the product."""
    folder = files("elysia_chat.configs").joinpath("training")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_preset(name: str, overrides: Sequence[str] = ()) -> Preset:
    """Load a preset by its name or path, and change it by `part.key=value`.

    Raises:
        PresetError: there is no such preset, or it has an unknown key or a value of the wrong type.
    """
    source = Path(name) if name.endswith((".yaml", ".yml")) else None
    if source is None:
        if name not in preset_names():
            msg = f"There is no training preset '{name}'; known: {', '.join(preset_names())}. A path ends in .yaml."
            raise PresetError(msg)
        text = files("elysia_chat.configs").joinpath("training", f"{name}.yaml").read_text(encoding="utf-8")
    else:
        try:
            text = source.read_text(encoding="utf-8")
        except OSError as error:
            msg = f"The preset {source} cannot be read: {error.strerror}."
            raise PresetError(msg) from error
    try:
        content = yaml.safe_load(text) or {}
        for override in overrides:
            _override(content, override)
    except yaml.YAMLError as error:
        msg = f"The preset '{name}' or an override is not valid YAML: {error}."
        raise PresetError(msg) from error
    preset: Preset = _build(Preset, content, "")
    _check(preset)
    return preset


_CHOICES: Mapping[tuple[str, str], tuple[Any, ...]] = {
    ("model", "dtype"): ("bfloat16", "float16", "float32"),
    ("model", "bits"): (4, 16),
    ("train", "device"): ("auto", "cpu", "cuda"),
    ("train", "optimizer"): ("auto", "adamw", "paged_adamw_8bit"),
}
_POSITIVE = {
    "data": ("max_tokens",),
    "lora": ("r", "alpha"),
    "train": ("learning_rate", "batch_tokens", "accumulation", "epochs", "save_steps", "save_limit", "log_steps"),
    "evaluate": ("max_new_tokens", "batch"),
}


def _check(preset: Preset) -> None:
    """Refuse values that cannot be meant."""
    for (part, key), choices in _CHOICES.items():
        value = getattr(getattr(preset, part), key)
        if value not in choices:
            *others, last = map(str, choices)
            msg = f"{part}.{key} must be {', '.join(others)} or {last}, not '{value}'."
            raise PresetError(msg)
    for part, keys in _POSITIVE.items():
        for key in keys:
            if not getattr(getattr(preset, part), key) > 0:
                msg = f"{part}.{key} must be above 0."
                raise PresetError(msg)
    if not 0 <= preset.lora.dropout < 1 or not preset.lora.targets:
        msg = "lora.dropout must be from 0 to below 1, and lora.targets must name a layer."
        raise PresetError(msg)


def _override(content: dict[str, Any], override: str) -> None:
    path, mark, text = override.partition("=")
    part, dot, key = path.partition(".")
    if not mark or not dot:
        msg = f"'{override}' is no override; write it as part.key=value, for example train.learning_rate=2e-4."
        raise PresetError(msg)
    content.setdefault(part, {})
    if isinstance(content[part], dict):
        content[part][key] = yaml.safe_load(text)


def _build(kind: type[Any], content: Any, path: str) -> Any:
    if not isinstance(content, Mapping):
        msg = f"'{path or 'the preset'}' must be a mapping of settings."
        raise PresetError(msg)
    hints = get_type_hints(kind)
    unknown = sorted(set(content) - {item.name for item in fields(kind)})
    if unknown:
        where = f"{path}." if path else ""
        msg = f"Unknown setting {', '.join(where + str(key) for key in unknown)}; known: {', '.join(sorted(hints))}."
        raise PresetError(msg)
    return kind(**{key: _value(hints[key], value, f"{path}.{key}".lstrip(".")) for key, value in content.items()})


def _value(hint: Any, value: Any, path: str) -> Any:
    if is_dataclass(hint):
        return _build(hint, value, path)  # type: ignore[arg-type]
    if hint == tuple[str, ...] and isinstance(value, list):
        return tuple(map(str, value))
    if hint is float and isinstance(value, (int, str)) and not isinstance(value, bool):
        try:
            return float(value)
        except ValueError:
            pass
    if hint is str and value is None:
        return ""
    if hint != tuple[str, ...] and isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    msg = f"'{path}' must be {'a list of words' if hint == tuple[str, ...] else hint.__name__}, not {value!r}."
    raise PresetError(msg)
