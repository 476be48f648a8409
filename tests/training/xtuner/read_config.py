"""Reads a config without XTuner: what it imports becomes its dotted name, calls of `dict` stay what they are."""

import builtins
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any


class _Name:
    """An object of a library, of which nothing is known but where it is."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __getattr__(self, name: str) -> "_Name":
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(f"{self.path}.{name}")


class _Library(ModuleType):
    def __getattr__(self, name: str) -> _Name:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Name(f"{self.__name__}.{name}")


def read_config(text: str) -> dict[str, Any]:
    """Return the config's variables; a class is its last name, a setting of a library its dotted one."""
    space: dict[str, Any] = {}
    with _own_import():
        exec(compile(text, "config.py", "exec"), space)
    return {key: _plain(value) for key, value in space.items() if not key.startswith("__") and not _imported(value)}


def _imported(value: Any) -> bool:
    return isinstance(value, (_Name, ModuleType))


def _plain(value: Any) -> Any:
    if isinstance(value, _Name):
        parts = value.path.split(".")
        if parts[0] == "torch":
            return value.path
        if parts[-1] == "from_pretrained" or parts[-2].isupper():
            return ".".join(parts[-2:])
        return parts[-1]
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner) for inner in value]
    return value


_LIBRARIES = ("torch", "datasets", "mmengine", "peft", "transformers", "xtuner", "bitsandbytes")


@contextmanager
def _own_import() -> Iterator[None]:
    real = builtins.__import__

    def stand_in(name: str, *rest: Any, **named: Any) -> Any:
        caller = sys._getframe(1).f_code.co_filename
        if caller == "config.py" and name.partition(".")[0] in _LIBRARIES:
            return _Library(name)
        return real(name, *rest, **named)

    builtins.__import__ = stand_in
    try:
        yield
    finally:
        builtins.__import__ = real
