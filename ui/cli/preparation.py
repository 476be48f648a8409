"""What has to be there before a question can be answered: converted weights and an index. Progress goes to stderr."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from elysia_chat.ui.cli.run import Run

if TYPE_CHECKING:
    from pathlib import Path

    from elysia_chat.ingest.report import IngestReport, Progress

_STAGES = {"read": "reading documents", "write": "embedding passages", "delete": "removing passages"}


def prepare(run: Run, persona: str | None, *, rag: bool, model: bool = True) -> None:
    """Convert the weights where that has not been done, build the index where there is none, and load the model.

    Args:
        run: the run.
        persona: whose index.
        rag: whether the lore is searched, which takes the embeddings and the index.
        model: whether the language model is needed.
    """
    convert_weights(run, embeddings=rag, model=model)
    if rag and not _is_indexed(run, persona):
        run.note(f"Building the index of '{run.services.persona(persona).name}' first …")
        report_failures(run, update_index(run, persona))
    if model:
        with run.waiting("loading the model"):
            _ = run.services.model


def _is_indexed(run: Run, persona: str | None) -> bool:
    with run.waiting("opening the index"):
        return run.services.is_indexed(persona)


def convert_weights(run: Run, *, embeddings: bool = True, model: bool = True) -> None:
    """Convert the embedded weights where that has not been done."""
    with progress_bar(run) as show:
        run.services.prepare(lambda share, what: show(what, share, 1.0), embeddings=embeddings, model=model)


def update_index(run: Run, persona: str | None, paths: "tuple[Path, ...]" = ()) -> "IngestReport":
    """Bring an index up to its documents, with a progress bar."""
    with progress_bar(run) as show:

        def tell(progress: "Progress") -> None:
            show(_STAGES[progress.stage], progress.done, progress.total)

        return run.services.ingest(persona, paths, tell)


def report_failures(run: Run, report: "IngestReport") -> None:
    """Name the documents that could not be read, on stderr."""
    for path, reason in report.failed:
        run.note(f"failed: {path}: {reason}")


@contextmanager
def progress_bar(run: Run) -> Iterator[Callable[[str, float, float], None]]:
    """Give a function that shows (what is done, done, total): as a bar in a terminal, elsewhere one line per step."""
    if not sys.stderr.isatty():
        yield _Lines(run).show
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=run.err, transient=True) as bar:
        task = bar.add_task("", total=None, visible=False)

        def show(what: str, done: float, total: float) -> None:
            bar.update(task, description=what, completed=done, total=total, visible=True)

        yield show


class _Lines:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._said = ""

    def show(self, what: str, done: float, total: float) -> None:
        if what != self._said and total:
            self._said = what
            self._run.note(what if done >= total else f"{what} …")
