"""One run of a command: its settings, its services, and where it writes."""

import json
import os
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from rich.console import Console

    from elysia_chat.chains.language import Language
    from elysia_chat.configs.settings import Settings
    from elysia_chat.ui.services import Services

_NO_SCREEN_COLUMNS = 10_000


class Run:
    """What a command works with.

    Attributes:
        json: whether the result is written as JSON; `out` shows nothing then.
        exit_code: with which the process will end.

    Args:
        files: presets and YAML files of settings.
        overrides: `key=value` settings.
        json: write one JSON object instead of text.
        debug: show tracebacks.
    """

    def __init__(
        self, files: Sequence[str] = (), overrides: Sequence[str] = (), *, json: bool = False, debug: bool = False
    ) -> None:
        self.json = json
        self.exit_code = 0
        self._files = tuple(files)
        self._overrides = tuple(overrides)
        self._debug = debug
        self._stdout: TextIO = sys.stdout

    @cached_property
    def settings(self) -> "Settings":
        """The settings of this run.

        Raises:
            SettingsError: a file cannot be read, a key is unknown, a value does not fit.
        """
        from elysia_chat.configs.loader import load_settings

        return load_settings(self._files, self._overrides)

    @cached_property
    def interface_language(self) -> "Language":
        """The language to greet in: the settings' or, where they say 'auto', the terminal's."""
        if self.settings.language != "auto":
            return self.settings.language
        variables = ("LC_ALL", "LC_MESSAGES", "LANG")
        locale = next((value for name in variables if (value := os.environ.get(name))), "")
        return "zh" if locale.startswith("zh") else "en"

    @cached_property
    def services(self) -> "Services":
        """The parts of the application, made from the settings."""
        from elysia_chat.ui.services import Services

        return Services(self.settings)

    @cached_property
    def out(self) -> "Console":
        """Where the readable result goes: stdout; shows nothing where the result is JSON."""
        from rich.console import Console

        console = Console(file=self._stdout, quiet=self.json, highlight=False, markup=False, emoji=False)
        if not console.is_terminal:
            # Nobody's screen: a line must not be broken or cut off where a program reads it.
            console.width = _NO_SCREEN_COLUMNS
        return console

    @cached_property
    def err(self) -> "Console":
        """Where progress and notes go: stderr."""
        from rich.console import Console

        return Console(file=sys.stderr, highlight=False, markup=False, emoji=False)

    def override(self, **settings: Any) -> None:
        """Set single settings over all others; `__` stands for the dot, None leaves a setting as it is."""
        given = {name.replace("__", "."): value for name, value in settings.items() if value is not None}
        self._overrides += tuple(f"{key}={json.dumps(value)}" for key, value in given.items())

    def stream(self, text: str) -> None:
        """Write a piece of a line to stdout at once."""
        if not self.json:
            self._stdout.write(printable(text))
            self._stdout.flush()

    def note(self, text: str) -> None:
        """Write a line to stderr."""
        self.err.print(printable(text), style="dim", soft_wrap=True)

    def waiting(self, what: str) -> AbstractContextManager[Any]:
        """Show in a terminal that something takes a while."""
        return self.err.status(f"{what} …") if self.err.is_terminal else nullcontext()

    def report(self, error: ElysiaChatError) -> None:
        """Tell the user of an error: one line on stderr, with `json` also an object on stdout."""
        self.explain(error)
        if self.json:
            self.write({"error": error_data(error)})

    def explain(self, error: ElysiaChatError) -> None:
        """Write an error's line to stderr."""
        if self._debug:
            traceback.print_exception(error, file=sys.stderr)
        self.err.print(f"Error: {printable(str(error))}", style="red", soft_wrap=True)

    def write(self, data: Mapping[str, Any]) -> None:
        """Write the JSON object that is the result."""
        self.write_json(self._stdout, data)

    def close(self) -> None:
        """Close what was opened."""
        if "services" in self.__dict__:
            self.services.close()

    @staticmethod
    def write_json(stream: TextIO, data: Mapping[str, Any]) -> None:
        """Write an object as one line of JSON; characters that UTF-8 cannot hold become escapes."""
        try:
            line = json.dumps(data, ensure_ascii=False, allow_nan=False)
            line.encode()
        except UnicodeEncodeError:
            line = json.dumps(data, allow_nan=False)
        stream.write(f"{line}\n")
        stream.flush()


def error_data(error: ElysiaChatError) -> dict[str, str]:
    """Return an error as plain data for JSON."""
    return {"type": type(error).__name__, "message": printable(str(error))}
