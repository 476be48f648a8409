"""Which checkpoint of a run is the best, and from where on it only learned its examples by heart."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elysia_chat.llm.errors import AdapterError
from elysia_chat.training.adapters import Bits, base_of, check_belongs
from elysia_chat.training.errors import CheckpointError
from elysia_chat.training.evaluate.answer import AnswerSettings, answer_with, checkpoint_step
from elysia_chat.training.evaluate.files import Answers, Arm, PreparedPrompts
from elysia_chat.training.evaluate.score import score
from elysia_chat.training.handover_errors import EvaluationError

_AS_IN_THE_CHAT = AnswerSettings()
_FALL = 0.02
"""How far the overall score has to fall below the best for it to be more than noise."""
_SHOWN = ("overall", "answered", "wrongly_refused", "refused", "introduced", "intrusive", "distinct", "general")


@dataclass(frozen=True)
class Overfitting:
    """The step from which on training did harm, and what shows it."""

    step: int
    reason: str


@dataclass(frozen=True)
class Sweep:
    """What a sweep found.

    Attributes:
        arm: of the prompts that the scores are from.
        best: path of the best checkpoint.
        best_step: its step.
        overfitting: where it set in; None where nothing shows it.
        rows: for each checkpoint its step, path, scores, and the losses that its trainer wrote.
        skipped: checkpoints that could not be read, with the reason.
    """

    arm: Arm
    best: str
    best_step: int
    overfitting: Overfitting | None
    rows: list[dict[str, Any]]
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the sweep as a JSON object."""
        return asdict(self)


def find_checkpoints(run: Path) -> list[Path]:
    """Return the checkpoints of a run by their steps.

    Raises:
        EvaluationError: there is none.
    """
    found = [path for path in run.glob("checkpoint-*") if path.is_dir() and checkpoint_step(path) is not None]
    if not found:
        msg = f"{run} holds no checkpoints (checkpoint-<step>): keep some with train.save_steps and train.save_limit."
        raise EvaluationError(msg)
    return sorted(found, key=lambda path: checkpoint_step(path) or 0)


def sweep(
    prepared: PreparedPrompts,
    checkpoints: Sequence[Path],
    *,
    model: str | None = None,
    bits: Bits = 16,
    settings: AnswerSettings = _AS_IN_THE_CHAT,
    dtype: str = "auto",
    device: str = "auto",
    keep: Callable[[Answers], None] = lambda _answers: None,
    progress: Callable[[str, int, int], None] = lambda _label, _done, _total: None,
) -> Sweep:
    """Let every checkpoint answer and compare them.

    A checkpoint that was cut short is left out and listed; the others are evaluated.

    Args:
        prepared: the prompts; the "rag" arm decides where there is one.
        checkpoints: adapter folders named `checkpoint-<step>`.
        model: the base; unset: the one that each adapter names.
        bits: 4 quantises the base to NF4 first.
        settings: how to ask.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
        device: where to compute.
        keep: given the answers of each checkpoint, for example to write them down.
        progress: called with (checkpoint, done, total).

    Raises:
        EvaluationError: no checkpoint could be read.
    """
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[str, str]] = []
    for folder in checkpoints:
        try:
            check_belongs(folder, model or base_of(folder))
        except (AdapterError, CheckpointError) as error:
            skipped.append((str(folder), str(error)))
            continue
        answers = answer_with(
            prepared,
            model,
            folder,
            bits=bits,
            dtype=dtype,
            device=device,
            settings=settings,
            progress=lambda done, total, name=folder.name: progress(name, done, total),  # type: ignore[misc]
        )
        keep(answers)
        rows.append(_row(folder, prepared, answers))
    if not rows:
        msg = f"None of the {len(checkpoints)} checkpoints can be read; the first: {skipped[0][1] if skipped else '-'}"
        raise EvaluationError(msg)
    return judge(rows, _arm(prepared), skipped)


def judge(rows: Sequence[Mapping[str, Any]], arm: Arm, skipped: Sequence[tuple[str, str]] = ()) -> Sweep:
    """Name the best checkpoint, the earliest of equals, and the step at which overfitting set in.

    Args:
        rows: with `step`, `path`, `overall`, the other scores, and `eval_loss` where the trainer measured one.
        arm: that they are from.
        skipped: checkpoints that could not be read.
    """
    ordered = sorted(rows, key=lambda row: row["step"])
    best = max(ordered, key=lambda row: (row["overall"] or 0.0, -row["step"]))
    signs = [sign for sign in (_fall_of_scores(ordered, best), _rise_of_loss(ordered)) if sign is not None]
    return Sweep(
        arm=arm,
        best=best["path"],
        best_step=best["step"],
        overfitting=min(signs, key=lambda sign: sign.step, default=None),
        rows=[dict(row) for row in ordered],
        skipped=list(skipped),
    )


def _fall_of_scores(rows: Sequence[Mapping[str, Any]], best: Mapping[str, Any]) -> Overfitting | None:
    """Return the first step after the best from which the score stays clearly below it."""
    after = [row for row in rows if row["step"] > best["step"]]
    below = [(row["overall"] or 0.0) < (best["overall"] or 0.0) - _FALL for row in after]
    place = next((place for place in range(len(after)) if all(below[place:])), None)
    if place is None:
        return None
    row = after[place]
    falls = {name: _worse_by(name, best.get(name), row.get(name)) for name in _SHOWN[1:]}
    worst = max(falls, key=lambda name: falls[name])
    return Overfitting(
        row["step"],
        f"the overall score falls from {best['overall']:.3f} (step {best['step']}) to {row['overall'] or 0.0:.3f}, "
        f"most of all '{worst}': {best.get(worst)} to {row.get(worst)}",
    )


def _worse_by(name: str, before: float | None, after: float | None) -> float:
    if before is None or after is None:
        return 0.0
    return after - before if name in ("wrongly_refused", "intrusive") else before - after


def _rise_of_loss(rows: Sequence[Mapping[str, Any]]) -> Overfitting | None:
    """Return the first step after the lowest evaluation loss from which it stays above it by two percent."""
    measured = [row for row in rows if row.get("eval_loss") is not None]
    if not measured:
        return None
    lowest = min(measured, key=lambda row: row["eval_loss"])
    after = [row for row in measured if row["step"] > lowest["step"]]
    above = [row["eval_loss"] > lowest["eval_loss"] * (1 + _FALL) for row in after]
    place = next((place for place in range(len(after)) if all(above[place:])), None)
    if place is None:
        return None
    row = after[place]
    before, now = f"{lowest['eval_loss']:.4f} (step {lowest['step']})", f"{row['eval_loss']:.4f}"
    return Overfitting(row["step"], f"the loss on held-out data rises from {before} to {now}")


def _row(folder: Path, prepared: PreparedPrompts, answers: Answers) -> dict[str, Any]:
    figures = score(prepared, answers)[_arm(prepared)]
    return {
        "step": checkpoint_step(folder) or 0,
        "path": str(folder),
        **{name: figures[name] for name in _SHOWN},
        "mean_characters": figures["length"]["mean_characters"],
        **_losses(folder),
    }


def _arm(prepared: PreparedPrompts) -> Arm:
    return "rag" if any(item.arm == "rag" for item in prepared.items) else "plain"


def _losses(folder: Path) -> dict[str, float | None]:
    """Return the last losses that the trainer had logged when it wrote the checkpoint."""
    try:
        state = json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        history = [entry for entry in state["log_history"] if isinstance(entry, dict)]
    except (OSError, ValueError, KeyError, TypeError):
        history = []
    return {
        name: next((float(entry[key]) for entry in reversed(history) if key in entry), None)
        for name, key in (("train_loss", "loss"), ("eval_loss", "eval_loss"))
    }
