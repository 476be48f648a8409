"""`train run` and `train presets`."""

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder


def presets(run: Run) -> dict[str, Any]:
    """List the presets, with what each trains."""
    from rich.table import Table

    from elysia_chat.training.commands import load_preset, preset_names

    table = Table("name", "model", "bits", "rank", "device", box=None)
    rows = []
    for name in preset_names():
        preset = load_preset(name)
        device = "cuda" if preset.model.bits == 4 else preset.train.device
        row = {
            "name": name,
            "model": preset.model.name,
            "bits": preset.model.bits,
            "r": preset.lora.r,
            "device": device,
        }
        rows.append(row)
        table.add_row(*(printable(str(value)) for value in row.values()))
    run.out.print(table)
    return {"presets": rows}


def run_preset(
    run: Run,
    preset: Annotated[str, typer.Argument(metavar="PRESET", help="Name or YAML file.", show_default=False)],
    out: OutFolder,
    changes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[KEY=VALUE]...", help="Settings, such as data.train=data/elysia.", show_default=False),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the newest checkpoint, exactly as if it had not ended.")
    ] = False,
) -> dict[str, Any] | None:
    """Train an adapter from a preset.

    On several GPUs: torchrun --nproc-per-node N -m elysia_chat.ui.cli train run PRESET …
    """
    from elysia_chat.training.commands import fine_tune, is_main_process, load_preset

    chosen = load_preset(preset, changes or ())
    if not is_main_process():
        fine_tune(chosen, out, resume=resume)
        return None
    run.note("Loading model and data …")
    with training_steps(run) as told:
        result = fine_tune(chosen, out, resume=resume, progress=told)
    facts = result.facts
    run.out.print(
        f"{result.steps} steps, {facts['examples']} examples, {facts['seconds']:.0f} s, loss {result.loss:.4f}"
        + (f", {result.skipped} steps left out" if result.skipped else "")
    )
    if facts["left_out"]:
        run.out.print(f"{facts['left_out']} examples are longer than data.max_tokens and were left out", style="yellow")
    for name, shares in result.scores.items():
        said = ", ".join(f"{key.replace('_', ' ')} {share:.0%}" for key, share in shares.items() if key != "count")
        run.out.print(printable(f"  {name}: {shares['count']:.0f} prompts{', ' if said else ''}{said}"))
    run.out.print(
        printable(f"Next: elysia-chat train evaluate --model tuned={result.adapter} --out REPORT"), soft_wrap=True
    )
    return {"adapter": str(result.adapter), "folder": str(out), **facts, "loss": _number(result.loss)}


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


@contextmanager
def training_steps(run: Run) -> Iterator[Callable[[int, int, float | None], None]]:
    """Give a function that shows how far training is: a bar in a terminal, elsewhere a line for each logged loss."""
    if not sys.stderr.isatty():

        def tell(step: int, total: int, loss: float | None) -> None:
            if loss is not None:
                run.note(f"step {step} of {total}: loss {loss:.4f}")

        yield tell
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=run.err, transient=True) as bar:
        task = bar.add_task("training", total=None)

        def show(step: int, total: int, loss: float | None) -> None:
            said = None if loss is None else f"loss {loss:.4f}"
            bar.update(task, completed=step, total=total, description=said)

        yield show
