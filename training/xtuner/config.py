"""A preset of training as an XTuner config: readable Python in XTuner's five parts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pprint import pformat
from typing import Any

from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import Preset
from elysia_chat.training.xtuner.data import MAP_FUNCTIONS
from elysia_chat.training.xtuner.recipe import Recipe

INTERNLM2_LAYERS = {
    "q_proj": "wqkv",
    "k_proj": "wqkv",
    "v_proj": "wqkv",
    "o_proj": "wo",
    "gate_proj": "w1",
    "up_proj": "w3",
    "down_proj": "w2",
}
_LINE = 100
_LEAST_WARMUP, _LEAST_ITERATIONS = 2, 4


@dataclass(frozen=True)
class Place:
    """What a config says of one machine and one set of data.

    Attributes:
        base: the model's folder, as the config names it.
        data: the data's file, as the config names it.
        format: of that file.
        internlm2: whether the model's layers have InternLM2's own names.
        rows: sequences that one pass over the data gives at least; 0: not known.
        folder: of the run, for the command in the head.
    """

    base: str
    data: str
    format: str
    internlm2: bool = False
    rows: int = 0
    folder: str = "."


def config_text(preset: Preset, recipe: Recipe, place: Place, title: str) -> str:
    """Return the config.

    Raises:
        PresetError: XTuner cannot do what the preset says.
    """
    import jinja2

    environment = jinja2.Environment(  # noqa: S701 (Python is written, not HTML)
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["py"] = lambda value: pformat(value, width=_LINE, sort_dicts=False)
    source = files("elysia_chat.training.xtuner").joinpath("config.py.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(title=title, **values(preset, recipe, place))


def values(preset: Preset, recipe: Recipe, place: Place) -> dict[str, Any]:
    """Return what the template writes.

    Raises:
        PresetError: XTuner cannot do what the preset says.
    """
    _check(preset)
    train, batch = preset.train, max(1, preset.train.batch_tokens // preset.data.max_tokens)
    saved = recipe.save_iterations or train.save_steps * train.accumulation
    asked = recipe.evaluation_iterations or preset.evaluate.every * train.accumulation or saved
    pretraining = place.format == "pretrain"
    share, why = _warmup(preset, place.rows // batch)
    iterations = train.max_steps * train.accumulation
    return {
        "base": place.base, "data": place.data, "folder": place.folder,
        "map_fn": MAP_FUNCTIONS.get(place.format, ""), "template": "" if pretraining else recipe.template,
        "max_length": preset.data.max_tokens, "packing": preset.data.packing, "shuffle": not pretraining,
        "batch_size": batch, "accumulation": train.accumulation, "epochs": int(train.epochs),
        "max_iterations": iterations, "warmup": share, "warmup_why": why,
        "warmup_iterations": max(_LEAST_WARMUP, round(iterations * train.warmup_share)),
        "optimizer": "PagedAdamW8bit" if train.optimizer == "paged_adamw_8bit" else "AdamW",
        "learning_rate": train.learning_rate, "end_rate": train.learning_rate * train.end_share,
        "beta2": train.beta2, "weight_decay": train.weight_decay, "max_norm": train.max_grad_norm,
        "save_iterations": saved, "save_limit": train.save_limit, "evaluation_iterations": asked,
        "log_iterations": train.log_steps, "seed": train.seed, "checkpointing": train.gradient_checkpointing,
        # EvaluateChatHook fills the prompt in with str.format.
        "system": recipe.system.replace("{", "{{").replace("}", "}}"), "system_template": recipe.system_template,
        "questions": list(recipe.questions), "answer_tokens": preset.evaluate.max_new_tokens,
        "bits": preset.model.bits, "dtype": preset.model.dtype,
        "wrapper": "OptimWrapper" if preset.model.dtype == "float32" else "AmpOptimWrapper",
        "attention": "" if preset.model.attention == "sdpa" else preset.model.attention,
        "r": preset.lora.r, "alpha": preset.lora.alpha, "dropout": preset.lora.dropout,
        "targets": [] if recipe.every_linear else _targets(preset, place.internlm2),
    }  # fmt: skip


def _check(preset: Preset) -> None:
    """Refuse what XTuner has no way for."""
    train = preset.train
    if not train.max_steps and train.epochs != int(train.epochs):
        msg = f"XTuner counts whole passes: make train.epochs={train.epochs} a whole number, or give train.max_steps."
        raise PresetError(msg)
    refused: Mapping[str, Any] = {"lora.start": preset.lora.start, "train.seconds": train.seconds}
    for key, value in refused.items():
        if value:
            msg = f"XTuner has nothing for {key}: use `train run` for it."
            raise PresetError(msg)


def _targets(preset: Preset, internlm2: bool) -> list[str]:
    if not internlm2:
        return list(preset.lora.targets)
    unknown = sorted(set(preset.lora.targets) - INTERNLM2_LAYERS.keys())
    if unknown:
        msg = f"InternLM2 has no layers that stand for {', '.join(unknown)} (lora.targets)."
        raise PresetError(msg)
    return list(dict.fromkeys(INTERNLM2_LAYERS[name] for name in preset.lora.targets))


def warmup(share: float, total: int) -> float:
    """Return the share of warm-up, so large that it takes two iterations.

    XTuner fails on a warm-up of none, and with one of a single iteration the learning rate stays where it begins, at a
    hundred-thousandth, without a word.

    Args:
        share: as wanted.
        total: iterations of the training.

    Raises:
        PresetError: there are too few iterations for a schedule.
    """
    if total < _LEAST_ITERATIONS:
        msg = (
            f"There is so little data that XTuner would make {total} iterations, and {_LEAST_ITERATIONS} are the least:"
            " raise train.epochs, or lower data.max_tokens and train.batch_tokens, or take fewer processes."
        )
        raise PresetError(msg)
    return max(share, math.ceil(1000 * _LEAST_WARMUP / total) / 1000)


def _warmup(preset: Preset, iterations: int) -> tuple[float, str]:
    """Return the share of warm-up, and why it is not the preset's.

    Args:
        preset: its settings.
        iterations: of one pass; 0: not known.
    """
    wanted = preset.train.warmup_share
    if preset.train.max_steps or not iterations:
        return wanted, ""
    total = iterations * int(preset.train.epochs)
    share = warmup(wanted, total)
    why = f"{_LEAST_WARMUP} iterations of {total} at least; the preset says {wanted}" if share > wanted else ""
    return share, why
