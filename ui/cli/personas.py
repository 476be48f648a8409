"""`personas list` and `personas new`."""

from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="List the characters, or begin a new one.", no_args_is_help=True)
    command(group, "list")(list_personas)
    command(group, "new")(new)
    app.add_typer(group, name="personas")


def list_personas(run: Run) -> dict[str, Any]:
    """List all personas, bundled and your own."""
    from rich.table import Table

    found = [_described(run, name) for name in run.services.persona_names()]
    table = Table("name", "title", "documents", "default", box=None)
    for persona in found:
        row = (persona["name"], persona["title"], str(persona["documents"]), "★" if persona["default"] else "")
        table.add_row(*map(printable, row))
    run.out.print(table)
    return {"personas": found}


def new(
    run: Run, name: Annotated[str, typer.Argument(help="What the character is called.", show_default=False)]
) -> dict[str, Any]:
    """Begin a persona of your own: writes a character card and a first document to edit."""
    from elysia_chat.configs.paths import user_persona_dir
    from elysia_chat.kb.personas import create_persona

    persona = create_persona(name)
    folder = user_persona_dir(persona.name)
    run.out.print(
        printable(f"Edit {folder / 'card.json'}, put documents into {folder / 'lore'}, then:"), soft_wrap=True
    )
    run.out.print(f"  elysia-chat ingest --persona {persona.name}")
    run.out.print(f"  elysia-chat chat --persona {persona.name}")
    return {**_described(run, persona.name), "folder": str(folder)}


def _described(run: Run, name: str) -> dict[str, Any]:
    persona = run.services.persona(name)
    return {
        "name": persona.name,
        "title": persona.title,
        "documents": len(persona.documents()),
        "lore_folders": [str(folder) for folder in persona.lore_folders],
        "default": persona.name == run.settings.persona,
    }
