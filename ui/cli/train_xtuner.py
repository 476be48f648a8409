"""`train xtuner`: XTuner's own trainer, in an environment of its own."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder, Overwrite, refuse
from elysia_chat.ui.cli.train_run import training_steps

RunFolder = Annotated[Path, typer.Argument(metavar="RUN", help="Folder that `config` made.", show_default=False)]
_SHOWN_CHARACTERS = 400


def group() -> typer.Typer:
    """Return the commands."""
    found = typer.Typer(help="Train with XTuner itself; see docs/xtuner.md.", no_args_is_help=True)
    command(found, "setup")(setup)
    command(found, "config")(config)
    command(found, "check")(check)
    command(found, "train")(train)
    command(found, "convert")(convert)
    command(found, "merge")(merge)
    command(found, "chat")(chat)
    return found


def setup(
    run: Run,
    python: Annotated[
        str | None, typer.Option("--python", metavar="PATH", help="Python 3.11 or 3.12 to build it with.")
    ] = None,
    torch_index: Annotated[
        str | None, typer.Option("--torch-index", metavar="URL", help="Where torch comes from, for another build.")
    ] = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Build it anew even where it is ready.")] = False,
) -> dict[str, Any]:
    """Build XTuner's environment in the data folder: some GB, some minutes, once."""
    from elysia_chat.training.xtuner.commands import build_environment

    with _packages(run) as told:
        found = build_environment(python=python, torch_index=torch_index, rebuild=rebuild, progress=told)
    said = ", ".join(f"{name} {version}" for name, version in found.versions.items())
    run.out.print(printable(f"{found.folder}: {said}"), soft_wrap=True)
    run.out.print("Next: elysia-chat train xtuner config internlm2-chat-1.8b-qlora data.train=DATA --out RUN")
    return {"folder": str(found.folder), "state": found.state, "versions": found.versions}


def config(
    run: Run,
    preset: Annotated[
        str, typer.Argument(metavar="PRESET", help="Preset of `train run`, recipe, or YAML file.", show_default=False)
    ],
    out: OutFolder,
    changes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[KEY=VALUE]...", help="As for `train run`, and such as xtuner.format=openai.", show_default=False
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """Write XTuner's config of a preset, with its data and its base, into a folder."""
    from elysia_chat.training.xtuner.commands import write_config

    with run.waiting("reading model and data"):
        record = write_config(preset, changes or (), out, overwrite=overwrite)
    run.out.print(printable(f"{out / 'config.py'}: {record.records} records, format {record.format}"), soft_wrap=True)
    if record.left_out:
        run.out.print(f"{record.left_out} examples are longer than data.max_tokens and were left out", style="yellow")
    run.out.print(printable(f"Next: elysia-chat train xtuner train {out}"), soft_wrap=True)
    return {"folder": str(out), **asdict(record)}


def check(run: Run, folder: RunFolder) -> dict[str, Any]:
    """Let XTuner check the data of a config, and show an example as it is learned."""
    from elysia_chat.training.xtuner.commands import check as check_data

    lines: list[str] = []
    with run.waiting("XTuner reads the data"):
        check_data(folder, lines.append)
    first = next((place for place, line in enumerate(lines) if line.startswith("#####")), len(lines))
    shown = [line for line in lines[first:] if line and "examples/s" not in line]
    for line in shown:
        run.out.print(printable(line[:_SHOWN_CHARACTERS]), soft_wrap=True)
    return {"folder": str(folder), "ok": True, "examples": shown}


def train(
    run: Run,
    folder: RunFolder,
    deepspeed: Annotated[
        str, typer.Option("--deepspeed", metavar="ZERO", help="zero1, zero2, zero3 or a settings file.")
    ] = "",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    launcher: Annotated[
        str, typer.Option("--launcher", metavar="NAME", help="slurm or mpi, where such a one starts the processes.")
    ] = "",
    options: Annotated[
        list[str] | None,
        typer.Option("--cfg", metavar="KEY=VALUE", help="A value of the config, such as lr=1e-4. May be repeated."),
    ] = None,
) -> dict[str, Any]:
    """Train with XTuner; NPROC_PER_NODE=N in the environment takes N GPUs."""
    from elysia_chat.training.xtuner.commands import train as train_run

    if launcher not in ("", "slurm", "mpi"):
        refuse("--launcher is slurm or mpi.")
    run.note("Loading model and data …")
    with training_steps(run) as told:
        made = train_run(
            folder, deepspeed=deepspeed, resume=resume, launcher=launcher, options=options or (), progress=told
        )
    run.out.print(f"{made.facts['iterations']} iterations, loss {made.facts['loss']}, {made.checkpoint.name}")
    run.out.print(printable(f"Next: elysia-chat train xtuner convert {folder}"), soft_wrap=True)
    return {"folder": str(folder), "checkpoint": str(made.checkpoint), **made.facts}


def convert(
    run: Run,
    folder: RunFolder,
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", metavar="PATH", help="Of the run; unset: the newest one.")
    ] = None,
) -> dict[str, Any]:
    """Make an adapter of a checkpoint that the chat, `train evaluate` and `train merge` take."""
    from elysia_chat.training.xtuner.commands import convert as convert_run

    with run.waiting("XTuner converts the checkpoint"):
        adapter = convert_run(folder, checkpoint)
    run.out.print(printable(str(adapter)), soft_wrap=True)
    run.out.print(printable(f"Next: elysia-chat train merge {adapter} --out MODEL"), soft_wrap=True)
    return {"adapter": str(adapter)}


def merge(
    run: Run,
    folder: RunFolder,
    out: OutFolder,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """Merge with XTuner into the 16-bit base; `train merge` keeps what was trained on 4 bits and measures it."""
    from elysia_chat.training.xtuner.commands import merge as merge_run

    merged = merge_run(folder, out, overwrite=overwrite, progress=lambda what: run.note(f"{what} …"))
    run.out.print(
        printable(f"Next: elysia-chat chat --set 'model={{kind: transformers, name: {merged}}}'"), soft_wrap=True
    )
    return {"folder": str(merged)}


def chat(
    run: Run,
    folder: RunFolder,
    options: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTION]...", help="Options of XTuner's chat, after --.", show_default=False),
    ] = None,
) -> None:
    """Talk with the run's adapter in XTuner's own chat."""
    from elysia_chat.training.xtuner.commands import chat as chat_run

    if run.json:
        refuse("XTuner's chat writes no JSON.")
    run.exit_code = chat_run(folder, options or ())


@contextmanager
def _packages(run: Run) -> Iterator[Callable[[str, int, int], None]]:
    """Give a function that shows how far an installation is: in a terminal a bar, elsewhere a line for each step."""
    from elysia_chat.ui.cli.preparation import progress_bar

    if run.err.is_terminal:
        with progress_bar(run) as show:
            yield show
        return
    said = ""

    def tell(what: str, _done: int, total: int) -> None:
        nonlocal said
        if what != said:
            run.note(f"{what} ({total} packages) …")
        said = what

    yield tell
