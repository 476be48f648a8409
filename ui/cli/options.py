"""The options that every command takes, and `command`, which adds them to one.

They may stand before the command or after it; lists join, a switch counts wherever it stands.
"""

import contextlib
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Concatenate, ParamSpec

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.cli.run import Run

_PANEL = "Options of every command"
Json = Annotated[
    bool, typer.Option("--json", help="Write one JSON object to stdout and nothing else.", rich_help_panel=_PANEL)
]
SettingsFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--settings", metavar="NAME_OR_FILE", help="A preset or a YAML file; later ones win.", rich_help_panel=_PANEL
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="One setting, such as retrieval.k=6.", rich_help_panel=_PANEL),
]
Debug = Annotated[
    bool, typer.Option("--debug", envvar="ELYSIA_CHAT_DEBUG", help="Show tracebacks.", rich_help_panel=_PANEL)
]
PersonaName = Annotated[
    str | None, typer.Option("--persona", "-p", metavar="NAME", help="Whose lore and voice, instead of the settings'.")
]
Rag = Annotated[bool | None, typer.Option("--rag/--no-rag", help="Search the lore first, or answer without it.")]

Arguments = ParamSpec("Arguments")
Data = dict[str, Any] | None


@dataclass(frozen=True)
class GlobalOptions:
    """The values of the options that every command takes."""

    settings: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    json: bool = False
    debug: bool = False

    def joined(self, other: "GlobalOptions") -> "GlobalOptions":
        """Return these options followed by others."""
        return GlobalOptions(
            self.settings + other.settings,
            self.overrides + other.overrides,
            self.json or other.json,
            self.debug or other.debug,
        )


def collect(
    json: Json = False, settings: SettingsFiles = None, overrides: Overrides = None, debug: Debug = False
) -> GlobalOptions:
    """Gather the shared options; its signature is what `command` adds to every command."""
    return GlobalOptions(tuple(settings or ()), tuple(overrides or ()), json, debug)


def command(
    app: typer.Typer, name: str
) -> Callable[[Callable[Concatenate[Run, Arguments], Data]], Callable[Concatenate[Run, Arguments], Data]]:
    """Register a function as a command.

    The function takes a `Run` and its own options, prints to the run's consoles, and returns what `--json` writes:
    None where it has written that already.

    Args:
        app: where to register it.
        name: of the command.
    """

    def register(
        function: Callable[Concatenate[Run, Arguments], Data],
    ) -> Callable[Concatenate[Run, Arguments], Data]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = list(inspect.signature(collect, eval_str=True).parameters.values())

        def call(context: typer.Context, **values: Any) -> None:
            options = collect(**{parameter.name: values.pop(parameter.name) for parameter in shared})
            _run(function, (context.obj or GlobalOptions()).joined(options), values)

        parameters = [inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)]
        parameters += [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in (*own, *shared)]
        call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        call.__annotations__ = {p.name: p.annotation for p in parameters}
        call.__doc__ = (function.__doc__ or "").partition("\n\nArgs:")[0]
        app.command(name)(call)
        return function

    return register


class JsonAwareGroup(TyperGroup):
    """Reports a command line that cannot be understood as JSON too, where `--json` stands in it."""

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        windows_expand_args: bool = True,
        **extra: Any,
    ) -> Any:
        """Run the command line as Typer does, but for the way in which its errors are told."""
        words = list(sys.argv[1:] if args is None else args)
        as_json = "--json" in words and standalone_mode
        try:
            code = super().main(
                words, prog_name, complete_var, standalone_mode and not as_json, windows_expand_args, **extra
            )
        except TyperException as error:
            if not as_json:
                raise
            Run.write_json(sys.stdout, {"error": {"type": "UsageError", "message": error.format_message()}})
            code = error.exit_code
        if as_json:
            sys.exit(code if isinstance(code, int) else 0)
        return code


def _run(function: Callable[..., Data], options: GlobalOptions, values: dict[str, Any]) -> None:
    run = Run(options.settings, options.overrides, json=options.json, debug=options.debug)
    # Whatever a library prints must not get between the JSON.
    quiet = contextlib.redirect_stdout(sys.stderr) if options.json else contextlib.nullcontext()
    try:
        with quiet:
            data = function(run, **values)
    except ElysiaChatError as error:
        run.report(error)
        raise typer.Exit(1) from error
    finally:
        run.close()
    if options.json and data is not None:
        run.write(data)
    if run.exit_code:
        raise typer.Exit(run.exit_code)
