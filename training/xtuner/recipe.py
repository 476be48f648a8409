"""Recipes: what XTuner needs to know beyond a preset of training, and YAML files that name both.

A recipe's YAML names the preset it begins with, changes of it, and the fields of `Recipe`; a preset's own name is a
recipe as well.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import yaml

from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import Preset, load_preset, preset_names
from elysia_chat.training.xtuner.data import Format

QUESTIONS = ("请介绍一下你自己", "Please introduce yourself")
SYSTEMS = ("alpaca", "arxiv_gentile", "coder", "colorist", "lawyer", "medical", "moss_sft", "sql")
"""XTuner's own texts for the system turn that `Recipe.system_template` may name."""


@dataclass(frozen=True)
class Recipe:
    """What XTuner needs to know beyond a preset.

    Attributes:
        format: of the data; "auto" is that of `train dataset`, or texts for pre-training.
        template: XTuner's name of the prompt template; "" for texts that are learned as they stand.
        system: text of the system turn of the questions that are asked as it trains.
        system_template: one of XTuner's own texts in its place.
        questions: asked as it trains.
        save_iterations: between checkpoints; 0: the preset's steps.
        evaluation_iterations: between the questions; 0: the preset's steps, or as the checkpoints.
        every_linear: leave it to XTuner which layers get an adapter: all linear ones, InternLM2's head with them.
    """

    format: Format = "auto"
    template: str = "internlm2_chat"
    system: str = ""
    system_template: str = ""
    questions: tuple[str, ...] = QUESTIONS
    save_iterations: int = 0
    evaluation_iterations: int = 0
    every_linear: bool = False


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with the product; the presets are not among them."""
    folder = files("elysia_chat.configs").joinpath("training", "xtuner")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def load_recipe(name: str, changes: Sequence[str] = ()) -> tuple[Preset, Recipe]:
    """Load a recipe or a preset by its name or path.

    Args:
        name: of a recipe or preset, or a YAML file of either.
        changes: `part.key=value`; those of the recipe itself begin with `xtuner.`.

    Raises:
        PresetError: there is none of this name, or a setting is unknown.
    """
    own = [change for change in changes if change.startswith("xtuner.")]
    others = [change for change in changes if not change.startswith("xtuner.")]
    content = _content(name)
    begins = content.pop("preset", None)
    part = dict(content.pop("xtuner", None) or {})
    inner = [f"{key}.{inner}={_yaml(value)}" for key, values in content.items() for inner, value in values.items()]
    preset = load_preset(str(begins or name), [*inner, *others])
    for change in own:
        key, mark, text = change.removeprefix("xtuner.").partition("=")
        if not mark:
            msg = f"'{change}' is no override; write it as xtuner.key=value."
            raise PresetError(msg)
        part[key] = _value(change, text)
    return preset, _recipe(part)


def _content(name: str) -> dict[str, Any]:
    if name in preset_names():
        return {}
    path = Path(name)
    if not name.endswith((".yaml", ".yml")):
        if name not in recipe_names():
            known = ", ".join([*recipe_names(), *(preset for preset in preset_names() if "internlm" in preset)])
            msg = f"There is no recipe '{name}' for XTuner; known: {known}. A path ends in .yaml."
            raise PresetError(msg)
        source = files("elysia_chat.configs").joinpath("training", "xtuner", f"{name}.yaml")
        return dict(yaml.safe_load(source.read_text(encoding="utf-8")))
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        msg = f"The recipe {path} cannot be read: {str(error).splitlines()[0]}"
        raise PresetError(msg) from error
    if not isinstance(content, dict) or "preset" not in content:
        # A preset's own file.
        return {}
    parts = [key for key, value in content.items() if key != "preset" and not isinstance(value, Mapping)]
    if parts:
        msg = f"'{parts[0]}' in {path} must be a mapping of settings."
        raise PresetError(msg)
    return content


def _recipe(part: Mapping[str, Any]) -> Recipe:
    known = {item.name: item for item in fields(Recipe)}
    for key, value in part.items():
        if key not in known:
            msg = f"Unknown setting xtuner.{key}; known: {', '.join(sorted(known))}."
            raise PresetError(msg)
        wanted = type(known[key].default)
        if not isinstance(value, list if wanted is tuple else wanted) or (wanted is int and isinstance(value, bool)):
            msg = f"'xtuner.{key}' must be {'a list' if wanted is tuple else wanted.__name__}, not {value!r}."
            raise PresetError(msg)
    given: dict[str, Any] = {
        key: tuple(map(str, value)) if isinstance(value, list) else value for key, value in part.items()
    }
    recipe = Recipe(**given)
    if recipe.format not in get_args(Format) or recipe.system_template not in ("", *SYSTEMS):
        msg = (
            f"xtuner.format is one of {', '.join(get_args(Format))}, and xtuner.system_template one of "
            f"{', '.join(SYSTEMS)}."
        )
        raise PresetError(msg)
    if recipe.template and not recipe.template.isidentifier():
        msg = f"xtuner.template is the name of one of XTuner's prompt templates, not '{recipe.template}'."
        raise PresetError(msg)
    return recipe


def _value(change: str, text: str) -> Any:
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        msg = f"The override '{change}' is not valid YAML: {str(error).splitlines()[0]}"
        raise PresetError(msg) from error
    return "" if value is None else value


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, allow_unicode=True).removesuffix("...\n").strip()
