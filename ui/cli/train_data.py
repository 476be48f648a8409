"""`train dataset`: a dataset from a persona, invented worlds and files of one's own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName
from elysia_chat.ui.cli.preparation import progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder, pairs, refuse

if TYPE_CHECKING:
    from elysia_chat.training.commands import Import

_FAULTS = {
    "duplicates": "prompts more than once",
    "contradictions": "prompts with different answers",
    "empty_answers": "empty answers",
    "unsupported": "answers without the words that are expected of them",
    "long_answers": "answers of more than 2,000 characters",
}


def dataset(
    run: Run,
    out: OutFolder,
    persona: Annotated[
        str | None, typer.Argument(metavar="[PERSONA]", help="Whose card, lore and dialogues.", show_default=False)
    ] = None,
    size: Annotated[
        int, typer.Option("--size", min=0, help="Examples to generate; 0: the imported ones alone.")
    ] = 20000,
    seed: Annotated[int, typer.Option("--seed", help="Of everything drawn: the same seed, the same bytes.")] = 1,
    mix: Annotated[
        list[str] | None, typer.Option("--mix", metavar="PART=WEIGHT", help="Weight of a part, such as talk=10.")
    ] = None,
    squad: Annotated[
        Path | None, typer.Option("--squad", metavar="FILE", help="Reading questions in SQuAD's form to mix in.")
    ] = None,
    imports: Annotated[
        list[str] | None,
        typer.Option(
            "--import",
            metavar="FILE:FORMAT",
            help="Data of your own: xtuner, openai, sharegpt, alpaca, text or xlsx. May be repeated.",
        ),
    ] = None,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", metavar="PART=NAME", help="Column of an XLSX file: question=, answer=, system=."),
    ] = None,
    test_share: Annotated[
        float, typer.Option("--test-share", min=0.0, max=0.49, help="Share kept apart, by document and fact.")
    ] = 0.02,
    processes: Annotated[int, typer.Option("--processes", min=1, help="How many work at it.")] = 1,
    name: PersonaName = None,
) -> dict[str, Any]:
    """Build training data from a persona's card, lore and dialogues, from invented worlds, and from files of your own.

    Writes train.jsonl, test.jsonl, prompts.jsonl, report.json and pictures.
    """
    from elysia_chat.training.commands import build_data

    if persona and name and persona != name:
        refuse(f"Two personas: '{persona}' and '{name}'.")
    who = run.services.persona(persona or name).name
    files = read_imports(imports or (), pairs(columns, "--column", "question=Question"))
    with progress_bar(run) as show:
        built = build_data(
            who,
            out,
            size=size,
            seed=seed,
            mix=weights(mix),
            squad=squad,
            imports=files,
            test_share=test_share,
            processes=processes,
            progress=lambda done, total: show("writing examples", done, total),
        )
    report = built.report.to_dict()
    _show(run, report, out)
    return {
        "persona": who,
        "folder": str(out),
        "train": built.train,
        "test": built.test,
        "train_sha256": built.sha256,
        "report": report,
    }


def read_imports(given: Sequence[str], columns: dict[str, str]) -> "list[Import]":
    """Read `FILE:FORMAT` of each import; the file's name may hold colons itself."""
    from elysia_chat.training.commands import Import

    found = []
    for text in given:
        path, mark, kind = text.rpartition(":")
        if not mark or not path:
            refuse(f"Write --import FILE:FORMAT, for example chats.jsonl:openai; got '{text}'.")
        found.append(Import(Path(path), kind, columns if kind == "xlsx" else {}))
    return found


def weights(given: Sequence[str] | None) -> dict[str, float]:
    """Read `part=weight` of each part."""
    found = {}
    for key, value in pairs(given, "--mix", "talk=10").items():
        try:
            found[key] = float(value)
        except ValueError:
            refuse(f"--mix {key}: '{value}' is no number.")
    return found


def _show(run: Run, report: dict[str, Any], out: Path) -> None:
    counts = ", ".join(f"{count} {kind}" for kind, count in report["kinds"].items())
    run.out.print(printable(f"{report['examples']['train']} examples to train, {report['examples']['test']} to test"))
    run.out.print(printable(f"kinds: {counts}"))
    low, middle, high = report["characters"]["answer"]
    run.out.print(f"answers of {low} to {high} characters, half of them at most {middle}")
    for key, what in _FAULTS.items():
        if report[key]:
            places = "; ".join(report["places"].get(key, [])[:3])
            run.out.print(printable(f"{report[key]} {what}: {places}"), style="yellow")
    for key in ("leaked_facts", "leaked_documents"):
        if report[key]:
            run.out.print(printable(f"in both parts, {key}: {', '.join(report[key][:3])}"), style="red")
    run.out.print(printable(f"Next: elysia-chat train run PRESET data.train={out} --out RUN"), soft_wrap=True)
