"""`train evaluate`: models, adapters and checkpoints side by side, in one report."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elysia_chat.ui.cli.options import PersonaName, Rag
from elysia_chat.ui.cli.preparation import prepare, progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder, refuse

if TYPE_CHECKING:
    from elysia_chat.training.commands import QuestionFile

_QUESTIONS = "questions.json"
_SHOWN = {
    "overall": "overall",
    "answered": "right answers",
    "wrongly_refused": "refused although the answer was there",
    "refused": "refused where there is no answer",
    "cited": "right answers that cite their source",
    "source_first": "source is the first passage",
    "introduced": "says its name when asked",
    "intrusive": "introduces itself unasked",
    "distinct": "different replies to different prompts",
    "general": "general talk kept",
}


def evaluate(
    run: Run,
    out: OutFolder,
    models: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            metavar="[LABEL=]NAME[+ADAPTER]",
            help="embedded, embedded+none, a folder or hub name, or an adapter, checkpoint or run. May be repeated.",
        ),
    ] = None,
    questions: Annotated[
        list[Path] | None,
        typer.Option(
            "--questions", metavar="FILE", help="On the persona's lore, as `eval qa` takes them; unset: its own file."
        ),
    ] = None,
    worlds: Annotated[
        list[Path] | None,
        typer.Option("--world", metavar="DIR", help="A folder with documents/ and questions.json. May be repeated."),
    ] = None,
    sweep: Annotated[
        Path | None, typer.Option("--sweep", metavar="RUN", help="Compare the checkpoints of a run; name the best.")
    ] = None,
    answers: Annotated[
        list[Path] | None,
        typer.Option("--answers", metavar="FILE", help="Answers given earlier or elsewhere, as another column."),
    ] = None,
    prepared: Annotated[
        Path | None,
        typer.Option("--prepared", metavar="FILE", help="Prompts prepared earlier; no index is needed then."),
    ] = None,
    prepare_only: Annotated[bool, typer.Option("--prepare-only", help="Write the prompts; no model answers.")] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="At most so many prompts of each kind: a quick look.")
    ] = None,
    bits: Annotated[int, typer.Option("--bits", help="4 quantises the bases to NF4.")] = 16,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Prompts answered at once.")] = 16,
    max_new_tokens: Annotated[int | None, typer.Option("--max-new-tokens", min=1, help="Longest answer.")] = None,
    persona: PersonaName = None,
    rag: Rag = None,
) -> dict[str, Any]:
    """Ask models the same prompts, with retrieval and without, and write one report: JSON, Markdown and pictures.

    Untuned beside tuned: --model untuned=embedded+none --model tuned=RUN
    """
    from elysia_chat.training.commands import EvaluationJob, parse_model
    from elysia_chat.training.commands import evaluate as evaluate_models

    if bits not in (4, 16):
        refuse("--bits is 4 or 16.")
    if not (models or sweep or answers or prepare_only):
        refuse("Name what to evaluate: --model, --sweep or --answers (or say --prepare-only).")
    job = EvaluationJob(
        models=() if prepare_only else [parse_model(text) for text in models or ()],
        answers=answers or (),
        sweep=None if prepare_only else sweep,
        bits=4 if bits == 4 else 16,
        batch_size=batch,
        max_new_tokens=max_new_tokens or run.settings.generation.max_new_tokens,
        dtype=run.settings.model.dtype,
        device=run.settings.model.device,
    )
    prompts = prepared or _prepared(run, persona, questions or (), worlds or (), rag, limit)
    with progress_bar(run) as show:
        report = evaluate_models(prompts, job, out, show)
    if report is None:
        run.out.print(printable(f"The prompts are in {out / 'prepared.json'}."), soft_wrap=True)
        return {"folder": str(out), "runs": []}
    _show(run, report, out)
    return {"folder": str(out), **_without_rows(report)}


def _prepared(
    run: Run,
    persona: str | None,
    questions: Sequence[Path],
    worlds: Sequence[Path],
    rag: bool | None,
    limit: int | None,
) -> Any:
    from elysia_chat.training.commands import prepare_prompts

    who = run.services.persona(persona)
    arms: tuple[Literal["rag", "plain"], ...] = ("rag", "plain") if rag is None else (("rag",) if rag else ("plain",))
    prepare(run, who.name, rag="rag" in arms, model=False)
    with _question_files(run, who, questions, worlds) as files, progress_bar(run) as show:
        return prepare_prompts(
            who.name,
            who.card,
            files,
            search=partial(run.services.search, persona=who.name) if "rag" in arms else None,
            arms=arms,
            k=run.settings.retrieval.k,
            limit=limit,
            progress=show,
        )


@contextmanager
def _question_files(
    run: Run, persona: Any, questions: Sequence[Path], worlds: Sequence[Path]
) -> "Iterator[list[QuestionFile]]":
    """Give the files of questions, each with its search; the worlds' indexes are open as long as they are needed."""
    from elysia_chat.training.commands import QuestionFile
    from elysia_chat.ui.worlds import open_world

    lore = partial(run.services.search, persona=persona.name)
    if not questions and not worlds:
        own = (folder.parent / _QUESTIONS for folder in persona.lore_folders)
        questions = [path for path in own if path.is_file()][-1:]
    with ExitStack() as stack:
        files = [
            QuestionFile(persona.name if path.stem == "questions" else path.stem, path, lore) for path in questions
        ]
        for folder in worlds:
            run.note(f"Indexing the world {folder.name} …")
            search = stack.enter_context(open_world(run.services, folder))
            files.append(QuestionFile(folder.resolve().name, folder / _QUESTIONS, search))
        names = [file.name for file in files]
        if len(set(names)) != len(names):
            refuse(f"Two sets of questions are called {max(names, key=names.count)}: rename one.")
        yield files


def _show(run: Run, report: dict[str, Any], out: Path) -> None:
    from rich.table import Table

    arms = {"rag": "with retrieval", "plain": "without"}
    table = Table("", *(printable(f"{one['label']}, {arms[one['arm']]}") for one in report["runs"]), box=None)
    for key, what in _SHOWN.items():
        values = [one["figures"].get(key) for one in report["runs"]]
        if any(value is not None for value in values):
            table.add_row(what, *("–" if value is None else f"{value:.1%}" for value in values))
    run.out.print(table)
    sweep = report.get("sweep")
    if sweep:
        run.out.print(printable(f"best checkpoint: {sweep['best']} (step {sweep['best_step']})"), soft_wrap=True)
        found = sweep["overfitting"]
        said = f"overfitting set in at step {found['step']}: {found['reason']}" if found else "no sign of overfitting"
        run.out.print(printable(said), soft_wrap=True)
    run.out.print(printable(f"The whole report: {out / 'report.md'}"), soft_wrap=True)


def _without_rows(report: dict[str, Any]) -> dict[str, Any]:
    """Return the report without the answer to every prompt, which its file holds."""
    runs = [
        {**one, "figures": {key: value for key, value in one["figures"].items() if key != "rows"}}
        for one in report["runs"]
    ]
    return {**report, "runs": runs}
