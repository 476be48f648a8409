"""Where settings come from; the later wins.

1. the schema's defaults
2. a preset (`configs/app/<name>.yaml`, `configs/models/<name>.yaml`) or a YAML file of the user's
3. the environment: `ELYSIA_CHAT_RETRIEVAL__K=6`
4. the command line: `--set retrieval.k=6`
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from elysia_chat.configs.errors import SettingsError
from elysia_chat.configs.paths import HOME_VARIABLE, home
from elysia_chat.configs.settings import Settings

ENV_PREFIX = "ELYSIA_CHAT_"
USER_FILE = "settings.yaml"
_PRESET_FOLDERS = {"app": Path(__file__).parent / "app", "model": Path(__file__).parent / "models"}


def presets(family: str = "app") -> dict[str, Path]:
    """Return the presets of a family ('app' or 'model') by name."""
    return {path.stem: path for path in sorted(_PRESET_FOLDERS[family].glob("*.yaml"))}


def load_settings(files: Sequence[str | Path] = (), overrides: Iterable[str] = ()) -> Settings:
    """Read settings from presets or files, the environment, and `key=value` overrides.

    Args:
        files: names of app presets or paths of YAML files, later ones win. Where none is given, `settings.yaml` in
            the data folder is read if it is there.
        overrides: `dotted.key=value`, the value in YAML (`retrieval.k=6`, `model.stop=[a, b]`).

    Raises:
        SettingsError: a file cannot be read, a key is unknown, a value does not fit.
    """
    values: dict[str, Any] = {}
    if not files and (home() / USER_FILE).is_file():
        files = [home() / USER_FILE]
    for name in files:
        _merge(values, _read_yaml(_resolve(name)))
    _merge(values, _from_environment())
    for override in overrides:
        _merge(values, _parse_override(override))
    model_preset = values.pop("model_preset", None)
    if model_preset is not None:
        values = _merge(_read_yaml(_resolve(model_preset, "model")), values)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def dump_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings as plain data, without secrets, to be saved beside what was made with them."""
    return settings.model_dump(mode="json", exclude={"model": {"api_key"}, "server": {"password"}})


def _resolve(name: str | Path, family: str = "app") -> Path:
    known = presets(family)
    if str(name) in known:
        return known[str(name)]
    path = Path(name).expanduser()
    if path.is_file():
        return path
    msg = f"No settings called '{name}': give a YAML file or one of the {family} presets {', '.join(known)}."
    raise SettingsError(msg)


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first_line = str(error).splitlines()[0]
        msg = f"Cannot read the settings in {path}: {first_line}"
        raise SettingsError(msg) from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        msg = f"The settings in {path} must be keys with values, not a {type(data).__name__}."
        raise SettingsError(msg)
    return data


def _from_environment() -> dict[str, Any]:
    prefix = ENV_PREFIX.lower()
    roots = {*Settings.model_fields, "model_preset"}
    given = {
        key.lower()[len(prefix) :]: value
        for key, value in os.environ.items()
        if key.lower().startswith(prefix) and key.upper() not in (HOME_VARIABLE, f"{ENV_PREFIX}DEBUG")
    }
    values: dict[str, Any] = {}
    for key, value in given.items():
        parts = key.split("__")
        if parts[0] not in roots:
            names = ", ".join(sorted(roots))
            msg = f"Unknown setting {ENV_PREFIX}{key.upper()} in the environment; known: {names}."
            raise SettingsError(msg)
        _merge(values, _nested(parts, _parse_value(value)))
    return values


def _parse_override(override: str) -> dict[str, Any]:
    key, separator, value = override.partition("=")
    if not separator or not key.strip():
        msg = f"Write settings as key=value, for example retrieval.k=6; got '{override}'."
        raise SettingsError(msg)
    return _nested(key.strip().split("."), _parse_value(value))


def _parse_value(value: str) -> Any:
    try:
        return yaml.safe_load(value) if value else ""
    except yaml.YAMLError:
        return value


def _nested(parts: Sequence[str], value: Any) -> dict[str, Any]:
    for part in reversed(parts):
        value = {part: value}
    return value  # type: ignore[no-any-return]


def _merge(target: dict[str, Any], source: Mapping[str, Any]) -> dict[str, Any]:
    for key, value in source.items():
        if isinstance(value, Mapping) and isinstance(target.get(key), dict):
            _merge(target[key], value)
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value
    return target


def _explain(error: ValidationError) -> str:
    """Turn the first of pydantic's complaints into one line that names the setting and what it may be."""
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        known = ", ".join(_fields_of(first["loc"][:-1]))
        return f"Unknown setting '{where}'; known here: {known}."
    reason = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{reason[0].upper()}{reason[1:]}."
    return f"Setting '{where}': {reason} (got {first['input']!r})."


def _fields_of(location: Sequence[int | str]) -> list[str]:
    model: type[BaseModel] = Settings
    for part in location:
        annotation = model.model_fields[str(part)].annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return sorted(model.model_fields)
