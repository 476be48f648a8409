"""`models list`."""

from typing import Any

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The language models that can be had here.", no_args_is_help=True)
    command(group, "list")(list_models)
    app.add_typer(group, name="models")


def list_models(run: Run) -> dict[str, Any]:
    """List the embedded model, the converted ones and the presets, and what each still needs."""
    from rich.table import Table

    from elysia_chat.llm.build import known_models

    table = Table("name", "kind", "state", "size", "preset", box=None)
    rows = []
    for model in known_models():
        setting = f"model_preset={model.name}" if model.preset else _setting(model.kind, model.name)
        size = "" if model.size_bytes is None else f"{model.size_bytes / 1e6:,.0f} MB"
        table.add_row(*map(printable, (model.name, model.kind, model.state, size, "yes" if model.preset else "")))
        rows.append(
            {
                "name": model.name,
                "kind": model.kind,
                "state": model.state,
                "path": None if model.path is None else str(model.path),
                "bytes": model.size_bytes,
                "preset": model.preset,
                "setting": setting,
            }
        )
    run.out.print(table)
    run.out.print("Choose a preset with --set model_preset=NAME, another with --set 'model={kind: KIND, name: NAME}'.")
    return {"models": rows, "chosen": {"kind": run.settings.model.kind, "name": run.settings.model.name}}


def _setting(kind: str, name: str) -> str:
    return "model.kind=embedded" if kind == "embedded" else f"model={{kind: {kind}, name: {name}}}"
