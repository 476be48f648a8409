"""The command `elysia-chat` with all its subcommands. Importing it loads no part of the application."""

from typing import Annotated

import typer

from elysia_chat.ui.cli import answers, chat, doctor, evaluation, lore, models, personas, say, serve, train, voices, web
from elysia_chat.ui.cli.options import Debug, Json, JsonAwareGroup, Overrides, SettingsFiles, collect

app = typer.Typer(
    cls=JsonAwareGroup,
    name="elysia-chat",
    help="Talk with a character whose every answer stands on her lore.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"elysia-chat {version('elysia-chat')}")
        raise typer.Exit


@app.callback()
def _root(
    context: typer.Context,
    json: Json = False,
    settings: SettingsFiles = None,
    overrides: Overrides = None,
    debug: Debug = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    context.obj = collect(json, settings, overrides, debug)


# In the order in which --help lists them.
for module in (web, serve, chat, answers, say, lore, personas, models, voices, doctor, evaluation, train):
    module.register(app)
