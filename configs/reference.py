"""Writes the reference of all settings (`docs/settings.md`) from the schema, so that the two cannot disagree.

`python -m elysia_chat.configs.reference > docs/settings.md`
"""

import sys
import types
import typing
from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from elysia_chat.configs.loader import presets
from elysia_chat.configs.settings import Settings

_HEAD = """\
# Settings

Written by `python -m elysia_chat.configs.reference`; a test holds it to the schema.

The later wins: defaults, presets or YAML files (`--settings NAME_OR_FILE`, else `settings.yaml` in the data folder),
the environment (`ELYSIA_CHAT_RETRIEVAL__K=6`), the command line (`--set retrieval.k=6`). Unknown keys are refused.
`model_preset=NAME` brings a model with settings that suit it.
"""


def reference() -> str:
    """Return the reference as Markdown."""
    parts = [_HEAD, _presets(), _table("Top level", Settings)]
    parts += [_table(name, section) for name, section in _sections(Settings)]
    return "\n".join(parts)


def _presets() -> str:
    rows = [
        f"| `{'--settings' if family == 'app' else '--set model_preset='}{' ' if family == 'app' else ''}{name}` "
        f"| {path.read_text(encoding='utf-8').splitlines()[0].lstrip('# ')} |"
        for family in ("app", "model")
        for name, path in presets(family).items()
    ]
    return "\n".join(["## Presets", "", "| preset | what it is |", "| --- | --- |", *rows, ""])


def _sections(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield name, field.annotation


def _table(title: str, model: type[BaseModel]) -> str:
    prefix = "" if model is Settings else f"{title}."
    about = "" if model is Settings else f"{(model.__doc__ or '').splitlines()[0]}\n\n"
    sections = {name for name, _ in _sections(model)}
    rows = [_row(f"{prefix}{name}", field) for name, field in model.model_fields.items() if name not in sections]
    head = "| setting | takes | default | what it does |\n| --- | --- | --- | --- |"
    return f"## {title}\n\n{about}{head}\n" + "\n".join(rows) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    default = "" if field.default in (None, (), "") else f"`{str(field.default).lower()}`"
    return f"| `{name}` | {_type(field.annotation, field)} | {default} | {field.description or ''} |"


def _type(annotation: Any, field: FieldInfo) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("unset" if a is type(None) else _type(a, field) for a in arguments)
    if origin is tuple:
        return "list of text"
    name = {str: "text", SecretStr: "secret", int: "whole number", float: "number", bool: "true, false"}[annotation]
    return f"{name}{_bounds(field)}" if annotation in (int, float) else name


def _bounds(field: FieldInfo) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    found = [
        f"{sign} {getattr(bound, key):g}"
        for bound in field.metadata
        for key, sign in signs.items()
        if getattr(bound, key, None) is not None
    ]
    return f" {', '.join(found)}" if found else ""


if __name__ == "__main__":
    sys.stdout.write(reference())
