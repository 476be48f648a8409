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
        name: "embedded", or a folder or hub name that transformers loads.
        dtype: of the frozen weights: "bfloat16", "float16" or "float32".
        attention: attention implementation of transformers.
    """

    name: str = "embedded"
    dtype: str = "bfloat16"
    attention: str = "sdpa"


@dataclass(frozen=True)
class DataPart:
    """The examples.

    Attributes:
        train: a JSONL file of examples, as `build_dataset` and the imports write it.
        max_tokens: longer examples are left out and counted.
    """

    train: str = ""
    max_tokens: int = 2048


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
        compile: compile the layers, which takes a minute and about halves the time of a step on a GPU.
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
    gradient_checkpointing: bool = False
    compile: bool = False


@dataclass(frozen=True)
class EvaluatePart:
    """Prompts that are answered as it trains.

    Attributes:
        prompts: a JSONL file with messages, and any_of or refuse; "" for none.
        every: steps between answers; 0: at the end only.
        max_new_tokens: of an answer.
        batch: prompts at a time.
    """

    prompts: str = ""
    every: int = 0
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
    return preset


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
