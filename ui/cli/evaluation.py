"""`eval qa`: how often the source is found, the answer right, and the unknown refused."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName, Rag, command
from elysia_chat.ui.cli.preparation import prepare, progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

_FIGURES = {
    "recall": "source among the first",
    "answered": "answered rightly",
    "wrongly_refused": "refused though the answer is there",
    "refused": "unanswerable ones refused",
    "cited": "right answers that cite their source",
}


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="Measure the answers.", no_args_is_help=True)
    command(group, "qa")(qa)
    app.add_typer(group, name="eval")


def qa(
    run: Run,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The questions, in JSON.", show_default=False)],
    persona: PersonaName = None,
    rag: Rag = None,
) -> dict[str, Any]:
    """Ask every question of FILE and count.

    FILE is {"answerable": [{"q": …, "any_of": [accepted strings], "source": document}], "unanswerable": [q, …]}.
    """
    from elysia_chat.chains.evaluation import evaluate, load_questions

    questions = load_questions(file)
    searches = run.settings.chat.rag if rag is None else rag
    name = run.services.persona(persona).name
    prepare(run, name, rag=searches)
    chain = run.services.chain(name, rag=searches)
    with progress_bar(run) as show:
        result = evaluate(
            questions,
            chain.invoke,
            (lambda question, k: run.services.search(question, k, name)) if searches else None,
            lambda done, total: show("asking", done, total),
        )
    _show(run, result)
    return {"file": str(file), "persona": name, "rag": searches, **result}


def _show(run: Run, result: Mapping[str, Any]) -> None:
    from rich.table import Table

    failed = [row for row in result["rows"] if not _is_good(row)]
    table = Table("question", "answer", "source", "rank", box=None, title="what failed", title_justify="left")
    for row in failed:
        cells = (row["q"], row["answer"], row.get("source") or "(unanswerable)", str(row.get("rank") or "–"))
        table.add_row(*map(printable, cells))
    if failed:
        run.out.print(table)
    for key, what in _FIGURES.items():
        value = result[key]
        shares = value if isinstance(value, dict) else {"": value}
        for rank, share in shares.items():
            shown = "–" if share is None else f"{share:.1%}"
            run.out.print(f"{f'{what} {rank}'.strip():40} {shown:>7}")
    counts = result["counts"]
    run.out.print(f"{counts['answerable']} answerable, {counts['unanswerable']} unanswerable, {len(failed)} failed")


def _is_good(row: Mapping[str, Any]) -> bool:
    return bool(row["right"] if row["answerable"] else row["refused"])
