"""`ingest`: bring an index up to its documents."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName, command
from elysia_chat.ui.cli.preparation import convert_weights, update_index
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from elysia_chat.ingest.report import IngestReport


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "ingest")(ingest)


def ingest(
    run: Run,
    paths: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH]...", help="Files and folders to add to the lore.", show_default=False),
    ] = None,
    persona: PersonaName = None,
    rebuild: Annotated[bool, typer.Option("--rebuild", help="Discard the index and build it from nothing.")] = False,
) -> dict[str, Any]:
    """Read, embed and write what changed in a persona's lore, and remove what is gone.

    PATHs are copied into the lore first. A file that cannot be read is listed with its reason and stops no other.
    """
    name = run.services.persona(persona).name
    convert_weights(run, model=False)
    if rebuild:
        run.services.discard_index(name)
    report = update_index(run, name, tuple(paths or ()))
    _show(run, report)
    return {"persona": name, **report.to_dict()}


def _show(run: Run, report: "IngestReport") -> None:
    for what in ("added", "updated", "repaired", "deleted"):
        for path in getattr(report, what):
            run.out.print(printable(f"{what:8} {path}"))
    for path, reason in report.failed:
        run.out.print(printable(f"failed   {path}: {reason}"), style="red")
    counts = [f"{len(getattr(report, what))} {what}" for what in ("added", "updated", "deleted", "unchanged", "failed")]
    run.out.print(f"{', '.join(counts)}; {report.chunks} passages; {report.seconds:.1f} s")
