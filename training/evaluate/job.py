"""Models that are evaluated: how they are named, how they answer, and the report of all of them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.training.handover_errors import EvaluationError

if TYPE_CHECKING:
    from elysia_chat.training.evaluate.files import PreparedPrompts

EMBEDDED, NO_ADAPTER = "embedded", "none"
PREPARED, ANSWERS = "prepared.json", "answers"
Told = Callable[[str, int, int], None]
"""Told (what is being done, done, total)."""


@dataclass(frozen=True)
class ModelChoice:
    """A model to evaluate.

    Attributes:
        label: what reports call it.
        model: folder or name of the base; None: the one that the adapter names.
        adapter: its folder.
    """

    label: str
    model: str | None
    adapter: Path | None = None


def parse_model(text: str) -> ModelChoice:
    """Read `[label=]name[+adapter]`.

    The name is "embedded", a folder, a converted model or a hub name; an adapter, a checkpoint or the folder of a run
    may stand alone, since it names its base. "embedded" brings its own adapter unless another one or "none" is given.

    Raises:
        EvaluationError: nothing is named.
    """
    label, mark, rest = text.partition("=")
    if not mark or "/" in label:
        label, rest = "", text
    name, _, given = rest.partition("+")
    if not name:
        msg = f"'{text}' names no model: write label=name or label=name+adapter."
        raise EvaluationError(msg)
    adapter = None if given in ("", NO_ADAPTER) else adapter_folder(Path(given).expanduser())
    if name == EMBEDDED:
        from elysia_chat.llm.adapter import embedded_adapter
        from elysia_chat.llm.embedded import NAME

        own = embedded_adapter() if not given else None
        return ModelChoice(label or ("untuned" if given == NO_ADAPTER else "embedded"), NAME, adapter or own)
    alone = adapter_folder(Path(name).expanduser())
    if adapter is None and (alone / "adapter_config.json").is_file():
        return ModelChoice(label or alone.resolve().name, None, alone)
    return ModelChoice(label or (adapter.name if adapter else Path(name).name), name, adapter)


def convert_embedded(adapter: Path | None, model: str | None) -> None:
    """Convert the embedded weights where a model or an adapter's base is the embedded one and that was not done.

    Raises:
        CheckpointError: the adapter does not name its base.
        ModelPackageError: a package with weights is missing or damaged.
    """
    from elysia_chat.llm.embedded import NAME, embedded_model_folder
    from elysia_chat.training.adapters import base_of

    if (model or (base_of(adapter) if adapter is not None else None)) == NAME:
        embedded_model_folder()


def adapter_folder(path: Path) -> Path:
    """Return where the adapter lies: the folder itself, or `adapter` in the folder of a run."""
    inner = path / "adapter"
    return inner if not (path / "adapter_config.json").is_file() and inner.is_dir() else path


@dataclass(frozen=True)
class EvaluationJob:
    """What is evaluated, and how.

    Attributes:
        models: that answer, in the order of the report's columns.
        answers: files of answers that were given before, on this or another machine.
        sweep: folder of a run whose checkpoints are compared.
        bits: 4 quantises the bases to NF4.
        batch_size: prompts answered at once.
        max_new_tokens: longest answer.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
        device: where to compute.
    """

    models: Sequence[ModelChoice] = ()
    answers: Sequence[Path] = ()
    sweep: Path | None = None
    bits: Literal[4, 16] = 16
    batch_size: int = 16
    max_new_tokens: int = 256
    dtype: str = "auto"
    device: str = "auto"


def evaluate(
    prepared: "PreparedPrompts | Path",
    job: EvaluationJob,
    out: Path,
    progress: Told = lambda _what, _done, _total: None,
) -> dict[str, Any] | None:
    """Let models answer prepared prompts, score them, and write everything into a folder.

    Args:
        prepared: the prompts, or the file of them that an earlier call wrote.
        job: who answers, and how.
        out: folder for `prepared.json`, `answers/`, `report.json`, `report.md` and pictures.
        progress: told how far it is.

    Returns:
        The report; None where there was nothing to answer, so that the prompts alone were written.

    Raises:
        EvaluationError: the prompts or answers cannot be used, two models have one label, or the folder cannot be
            written.
        CheckpointError, AdapterError, ModelLoadError: a model cannot be loaded.
    """
    from elysia_chat.training.evaluate.files import read_answers, read_prepared, write_file

    if isinstance(prepared, Path):
        prepared = read_prepared(prepared)
    labels = [choice.label for choice in job.models]
    if len(set(labels)) != len(labels):
        msg = f"Two models are called {max(labels, key=labels.count)}: give each a label, as in tuned=NAME+ADAPTER."
        raise EvaluationError(msg)
    given = [read_answers(path) for path in job.answers]
    write_file(prepared, out / PREPARED)
    if not (job.models or job.answers or job.sweep):
        return None
    answered = [_answer(prepared, choice, job, out, progress) for choice in job.models]
    return _report(prepared, [*given, *answered], job, out, progress)


def _answer(prepared: "PreparedPrompts", choice: ModelChoice, job: EvaluationJob, out: Path, progress: Told) -> Any:
    from elysia_chat.training.evaluate.answer import answer_with
    from elysia_chat.training.evaluate.files import write_file

    convert_embedded(choice.adapter, choice.model)
    answers = answer_with(
        prepared,
        choice.model,
        choice.adapter,
        label=choice.label,
        bits=job.bits,
        dtype=job.dtype,
        device=job.device,
        settings=_settings(job),
        progress=lambda done, total: progress(f"{choice.label} answers", done, total),
    )
    write_file(answers, out / ANSWERS / f"{_file_name(choice.label)}.json")
    return answers


def _settings(job: EvaluationJob) -> Any:
    from elysia_chat.training.evaluate.answer import AnswerSettings

    return AnswerSettings(batch_size=job.batch_size, max_new_tokens=job.max_new_tokens)


def _report(
    prepared: "PreparedPrompts", answered: list[Any], job: EvaluationJob, out: Path, progress: Told
) -> dict[str, Any]:
    from elysia_chat.training.evaluate.files import write_file
    from elysia_chat.training.evaluate.report import build_report, write_report
    from elysia_chat.training.evaluate.sweep import find_checkpoints, sweep

    found = None
    if job.sweep is not None:
        kept: dict[int, Any] = {}

        def keep(answers: Any) -> None:
            kept[answers.step or 0] = answers
            write_file(answers, out / ANSWERS / f"{_file_name(answers.label)}.json")

        found = sweep(
            prepared,
            find_checkpoints(job.sweep),
            bits=job.bits,
            settings=_settings(job),
            dtype=job.dtype,
            device=job.device,
            keep=keep,
            progress=lambda label, done, total: progress(f"{label} answers", done, total),
        )
        answered = [*answered, kept[found.best_step]]
    report = build_report(prepared, answered, found)
    write_report(report, out)
    return report


def _file_name(label: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_." else "-" for letter in label).lstrip(".") or "answers"
