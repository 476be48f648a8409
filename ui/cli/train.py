"""`train`: from a persona to a tested adapter and a model to hand over. One module for each group of its commands."""

import typer

from elysia_chat.ui.cli import (
    train_data,
    train_evaluate,
    train_handover,
    train_run,
    train_search,
    train_voice,
    train_xtuner,
)
from elysia_chat.ui.cli.options import command


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(
        help="Fine-tune a persona: dataset, run, evaluate, merge; then gguf and push.", no_args_is_help=True
    )
    command(group, "dataset")(train_data.dataset)
    command(group, "presets")(train_run.presets)
    command(group, "run")(train_run.run_preset)
    command(group, "evaluate")(train_evaluate.evaluate)
    command(group, "search")(train_search.search)
    command(group, "merge")(train_handover.merge)
    command(group, "gguf")(train_handover.gguf)
    command(group, "push")(train_handover.push)
    command(group, "voice")(train_voice.voice)
    group.add_typer(train_xtuner.group(), name="xtuner")
    app.add_typer(group, name="train")
