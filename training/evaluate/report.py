"""One report of an evaluation: JSON for programs, Markdown for people, and pictures."""

import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from elysia_chat.configs.files import write_text, writing_errors
from elysia_chat.training.adapters import public_name
from elysia_chat.training.evaluate.files import Answers, PreparedPrompts
from elysia_chat.training.evaluate.score import GOALS, reached, score
from elysia_chat.training.evaluate.sweep import Sweep
from elysia_chat.training.handover_errors import EvaluationError

_log = logging.getLogger(__name__)
JSON_FILE, MARKDOWN_FILE, PICTURE, SWEEP_PICTURE = "report.json", "report.md", "comparison.png", "sweep.png"
_METRICS: Mapping[str, str] = {
    "overall": "overall",
    "answered": "right answers",
    "wrongly_refused": "refused although the answer was there",
    "refused": "refused where there is no answer",
    "cited": "right answers that cite their source",
    "source_first": "source is the first passage",
    "source_found": "source is among the passages found",
    "introduced": "says its name when asked",
    "intrusive": "introduces itself unasked",
    "distinct": "different replies to different prompts",
    "general": "general talk kept",
    "general_refused": "general prompts refused",
}
_LENGTHS: Mapping[str, str] = {
    "median_characters": "characters of a reply, median",
    "p95_characters": "characters of a reply, 95th percentile",
    "truncated": "cut off by the limit",
    "looping": "repeats itself",
}
_DRAWN = ("answered", "refused", "wrongly_refused", "cited", "introduced", "intrusive", "distinct", "general")
_WRONG_SHOWN = 12
_ARMS = {"rag": "with retrieval", "plain": "without retrieval"}


def build_report(
    prepared: PreparedPrompts, all_answers: Sequence[Answers], sweep: Sweep | None = None
) -> dict[str, Any]:
    """Score every model's answers and put the figures side by side.

    Args:
        prepared: the prompts.
        all_answers: of each model, the untuned one first.
        sweep: over the checkpoints of a run.

    Returns:
        `persona`, `goals`, `prompts` (their number by set and kind), `runs` (for each model and arm its label, where
        it came from, and its figures), and `sweep`.

    Raises:
        EvaluationError: there are no answers, or some are missing.
    """
    if not all_answers:
        msg = "There are no answers to report on: answer the prompts with a model first."
        raise EvaluationError(msg)
    runs = [
        {
            "label": answers.label,
            "arm": arm,
            "model": public_name(answers.model),
            "adapter": None if answers.adapter is None else public_name(answers.adapter),
            "step": answers.step,
            "settings": answers.settings,
            "seconds": answers.seconds,
            "figures": figures,
        }
        for answers in all_answers
        for arm, figures in score(prepared, answers).items()
    ]
    return {
        "persona": prepared.persona,
        "goals": {name: f"{sign} {goal:.2f}" for name, (sign, goal) in GOALS.items()},
        "prompts": _counts(prepared),
        "runs": runs,
        "sweep": sweep.to_dict() if sweep is not None else None,
    }


def write_report(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write `report.json`, `report.md` and the pictures into a folder.

    Returns:
        The files.

    Raises:
        EvaluationError: the folder cannot be written.
    """
    with writing_errors(folder, EvaluationError):
        folder.mkdir(parents=True, exist_ok=True)
        pictures = draw(report, folder)
        write_text(folder / MARKDOWN_FILE, markdown(report, [path.name for path in pictures]))
        write_text(folder / JSON_FILE, json.dumps(report, ensure_ascii=False, indent=1) + "\n")
    return [folder / JSON_FILE, folder / MARKDOWN_FILE, *pictures]


def read_report(path: Path) -> dict[str, Any]:
    """Read a report that `write_report` wrote, given its file or its folder.

    Raises:
        EvaluationError: it cannot be read or is no report.
    """
    file = path / JSON_FILE if path.is_dir() else path
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"Cannot read the report {file}: {str(error).splitlines()[0]}"
        raise EvaluationError(msg) from error
    if not isinstance(report, dict) or not isinstance(report.get("runs"), list) or "persona" not in report:
        msg = f"{file} is no evaluation report: it has no runs."
        raise EvaluationError(msg)
    return report


def markdown(report: Mapping[str, Any], pictures: Sequence[str] = ()) -> str:
    """Return the report as Markdown: the comparison, the sets, the sweep, and what went wrong."""
    runs = report["runs"]
    parts = [f"# Evaluation of {report['persona']}", "", *comparison_table(report), ""]
    parts += [f"![{name.rpartition('.')[0]}]({name})\n" for name in pictures]
    parts += ["## By set of questions", "", *_sets_table(runs), "", "## By language", "", *_languages_table(runs), ""]
    if report.get("sweep"):
        parts += ["## Checkpoints", "", *_sweep_lines(report["sweep"]), ""]
    for run in runs:
        wrong = _wrong(run["figures"]["rows"])
        if wrong:
            parts += [f"## What went wrong: {_column(run)}", "", *wrong, ""]
    return "\n".join(parts).rstrip() + "\n"


def comparison_table(report: Mapping[str, Any]) -> list[str]:
    """Return the headline table: a row for each figure, a column for each model and arm."""
    runs = report["runs"]
    lines = [
        "| | " + " | ".join(_column(run) for run in runs) + " | goal |",
        "| --- |" + " ---: |" * (len(runs) + 1),
    ]
    for name, title in _METRICS.items():
        values = [run["figures"].get(name) for run in runs]
        if any(value is not None for value in values):
            cells = [_marked(name, value) for value in values]
            lines.append(f"| {title} | {' | '.join(cells)} | {_goal(name)} |")
    for name, title in _LENGTHS.items():
        numbers = [run["figures"]["length"][name] for run in runs]
        cells = [f"{number:.0f}" if "characters" in name else f"{number:.1%}" for number in numbers]
        lines.append(f"| {title} | {' | '.join(cells)} | |")
    return lines


def draw(report: Mapping[str, Any], folder: Path) -> list[Path]:
    """Draw the comparison, and the sweep where there is one, as PNG pictures; none where matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        _log.warning("The report has no pictures: they need matplotlib (pip install matplotlib).")
        return []
    from matplotlib.figure import Figure

    runs = report["runs"]
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    axes = figure.subplots()
    width = 0.8 / len(runs)
    for number, run in enumerate(runs):
        places = [place + (number - (len(runs) - 1) / 2) * width for place in range(len(_DRAWN))]
        axes.bar(places, [run["figures"].get(name) or 0.0 for name in _DRAWN], width, label=_ascii(_column(run)))
    axes.set_xticks(range(len(_DRAWN)), [name.replace("_", "\n") for name in _DRAWN])
    axes.set_ylim(0, 1)
    axes.set_ylabel("share")
    axes.grid(axis="y", alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=min(4, len(runs)))
    figure.savefig(folder / PICTURE, dpi=110)
    return [folder / PICTURE, *([_draw_sweep(report["sweep"], folder)] if report.get("sweep") else [])]


def _draw_sweep(sweep: Mapping[str, Any], folder: Path) -> Path:
    from matplotlib.figure import Figure

    rows = sweep["rows"]
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in ("overall", "answered", "refused", "introduced", "distinct", "general"):
        known = [(row["step"], row[name]) for row in rows if row.get(name) is not None]
        if known:
            axes.plot(*zip(*known, strict=True), marker="o", label=name, linewidth=2.5 if name == "overall" else 1)
    axes.axvline(sweep["best_step"], color="green", linestyle="--", label="best")
    if sweep["overfitting"]:
        axes.axvline(sweep["overfitting"]["step"], color="red", linestyle=":", label="overfitting")
    axes.set_xlabel("step")
    axes.set_ylabel("share")
    axes.set_ylim(0, 1.02)
    axes.grid(alpha=0.3)
    figure.legend(fontsize=8, loc="outside upper center", ncols=8)
    figure.savefig(folder / SWEEP_PICTURE, dpi=110)
    return folder / SWEEP_PICTURE


def _counts(prepared: PreparedPrompts) -> dict[str, int]:
    counts: dict[str, int] = {}
    for item in prepared.items:
        key = f"{item.set}/{item.kind}/{item.arm}"
        counts[key] = counts.get(key, 0) + 1
    return counts


def _column(run: Mapping[str, Any]) -> str:
    return f"{run['label']}, {_ARMS[run['arm']]}"


def _marked(name: str, value: float | None) -> str:
    if value is None:
        return ""
    missed = reached(name, value) is False
    return f"{value:.3f}{' ✗' if missed else ''}"


def _goal(name: str) -> str:
    return "{} {:.2f}".format(*GOALS[name]).replace(">=", "≥").replace("<=", "≤") if name in GOALS else ""


def _sets_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = ["| set | model | right | wrongly refused | refused | cited |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for run in runs:
        for name, figures in run["figures"]["sets"].items():
            cells = [_plain(figures[key]) for key in ("answered", "wrongly_refused", "refused", "cited")]
            lines.append(f"| {name} | {_column(run)} | {' | '.join(cells)} |")
    return lines


def _languages_table(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    keys = ("introduced", "intrusive", "distinct", "general")
    lines = [f"| language | model | {' | '.join(keys)} |", "| --- | --- |" + " ---: |" * len(keys)]
    for run in runs:
        for language, figures in run["figures"]["languages"].items():
            lines.append(f"| {language} | {_column(run)} | {' | '.join(_plain(figures[key]) for key in keys)} |")
    return lines


def _sweep_lines(sweep: Mapping[str, Any]) -> list[str]:
    keys = (
        "overall",
        "answered",
        "refused",
        "introduced",
        "intrusive",
        "distinct",
        "general",
        "train_loss",
        "eval_loss",
    )
    lines = [f"| step | {' | '.join(keys)} |", "| ---: |" + " ---: |" * len(keys)]
    for row in sweep["rows"]:
        mark = " **best**" if row["step"] == sweep["best_step"] else ""
        lines.append(f"| {row['step']}{mark} | {' | '.join(_plain(row.get(key)) for key in keys)} |")
    found = sweep["overfitting"]
    said = f"Overfitting set in at step {found['step']}: {found['reason']}." if found else "No sign of overfitting."
    return [*lines, "", said, *[f"Left out: {reason}" for _path, reason in sweep["skipped"]]]


def _wrong(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    wrong = [
        row for row in rows if "answerable" in row and (not row["right"] if row["answerable"] else not row["refused"])
    ]
    lines = [f"- {_cell(row['q'])} → {_cell(row['answer'])}" for row in wrong[:_WRONG_SHOWN]]
    more = len(wrong) - len(lines)
    return [*lines, *([f"- … and {more} more in {JSON_FILE}"] if more > 0 else [])]


def _plain(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _cell(text: str) -> str:
    """Return a text that stays in its line and is no Markup: what a model wrote is data."""
    flat = " ".join(text.split())
    shortened = flat if len(flat) <= 200 else f"{flat[:200]}…"
    return "`" + shortened.replace("`", "'") + "`" if shortened else "(nothing)"


def _ascii(text: str) -> str:
    """Return a label that the picture's font can write."""
    return text.encode("ascii", "replace").decode()
