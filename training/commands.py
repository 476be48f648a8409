"""What the front ends call: one function for each step from a persona to a model that can be handed over.

Everything heavy is imported inside; what needs a persona's index is put together by the caller and handed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.training.distributed import is_main_process
from elysia_chat.training.handover_errors import EvaluationError
from elysia_chat.training.presets import Preset, load_preset, preset_names

if TYPE_CHECKING:
    from elysia_chat.kb.card import CharacterCard
    from elysia_chat.training.dataset.build import BuiltDataset
    from elysia_chat.training.evaluate.files import PreparedPrompts
    from elysia_chat.training.evaluate.prepare import Search
    from elysia_chat.training.gguf import GgufReport
    from elysia_chat.training.gguf import Kind as GgufKind
    from elysia_chat.training.merge import Into, MergeReport
    from elysia_chat.training.push import Hub, PushPlan
    from elysia_chat.training.run import Progress, RunResult
    from elysia_chat.training.search.run import Task as SearchTask

__all__ = [
    "EvaluationJob",
    "Import",
    "ModelChoice",
    "Preset",
    "QuestionFile",
    "build_data",
    "evaluate",
    "fine_tune",
    "is_main_process",
    "load_preset",
    "merge_adapter",
    "parse_model",
    "prepare_prompts",
    "preset_names",
    "publish",
    "train_the_search",
    "write_gguf",
]  # fmt: skip
EMBEDDED, NO_ADAPTER = "embedded", "none"
PREPARED, ANSWERS = "prepared.json", "answers"
Told = Callable[[str, int, int], None]
"""Told (what is being done, done, total)."""


@dataclass(frozen=True)
class Import:
    """A file of data in another format; `columns` names those of a workbook."""

    path: Path
    format: str
    columns: Mapping[str, str] = field(default_factory=dict)


def build_data(
    persona: str,
    out: Path,
    *,
    size: int,
    seed: int = 1,
    mix: Mapping[str, float] | None = None,
    squad: Path | None = None,
    imports: Sequence[Import] = (),
    test_share: float = 0.02,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> "BuiltDataset":
    """Build a dataset from a persona, invented worlds and imported files; see `dataset.build.build_dataset`.

    Raises:
        DataFileError: a file has the wrong shape; the message names the line.
        DatasetError: the mix or the size makes no sense.
    """
    from elysia_chat.training.dataset.build import build_dataset
    from elysia_chat.training.dataset.imports import import_examples

    imported = [example for one in imports for example in import_examples(one.path, one.format, one.columns)]
    return build_dataset(
        persona,
        out,
        seed=seed,
        mix=dict(mix or {}),
        size=size,
        test_share=test_share,
        reading_file=squad,
        imported=imported,
        processes=processes,
        progress=progress,
    )


def fine_tune(preset: Preset, out: Path, *, resume: bool = False, progress: "Progress | None" = None) -> "RunResult":
    """Train an adapter; see `run.run_training`."""
    from elysia_chat.training.run import run_training

    return run_training(preset, out, resume=resume, progress=progress)


def train_the_search(
    task: "SearchTask",
    base: Path,
    out: Path,
    *,
    settings: Mapping[str, Any],
    squad: Path | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    """Train an embedding model or a reranker; see `search.run.train_search`.

    Args:
        task: "embedder" or "reranker".
        base: folder of the encoder.
        out: folder to write to.
        settings: fields of `search.run.SearchRun` that differ from its defaults.
        squad: questions in SQuAD's form to mix in.
        progress: told how many steps are done.

    Returns:
        What the run's results hold, and `model`, the folder of the model.

    Raises:
        PresetError: the settings make no sense, or the base holds no BERT encoder.
        DataFileError: the file with questions has the wrong shape.
    """
    from elysia_chat.training.dataset.reading import read_squad
    from elysia_chat.training.search.queries import Sources
    from elysia_chat.training.search.run import MODEL, SearchRun, train_search

    questions = read_squad(squad)[1] if squad is not None else []
    results = train_search(SearchRun(task, **settings), Sources(questions), base, out, progress)
    return {"model": str(out / MODEL), **results}


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
class QuestionFile:
    """Questions with and without an answer, and a search over the documents that they are about."""

    name: str
    path: Path
    search: "Search"


def prepare_prompts(
    persona: str,
    card: "CharacterCard",
    questions: Sequence[QuestionFile],
    *,
    search: "Search | None",
    arms: Sequence[Literal["rag", "plain"]] = ("rag", "plain"),
    k: int = 4,
    limit: int | None = None,
    progress: Told = lambda _what, _done, _total: None,
) -> "PreparedPrompts":
    """Build every prompt of an evaluation; see `evaluate.prepare.prepare`.

    Args:
        persona: its name.
        card: who speaks.
        questions: to be asked, each with its own search.
        search: over the persona's lore, for the prompts that are the same for all.
        arms: with passages ("rag"), without ("plain"), or both.
        k: passages that reach the prompt.
        limit: at most so many prompts of each kind and set, spread evenly; for a quick look.
        progress: told how far it is.
    """
    from elysia_chat.chains.evaluation import load_questions
    from elysia_chat.training.evaluate.prepare import PromptSettings, World, prepare, thin_out

    worlds = [World(one.name, load_questions(one.path), one.search) for one in questions]
    return prepare(
        persona,
        card,
        [thin_out(world, limit) for world in worlds] if limit else worlds,
        search=search,
        arms=arms,
        limit=limit,
        settings=PromptSettings(k=k),
        progress=lambda done, total: progress("searching", done, total),
    )


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


def merge_adapter(
    adapter: Path,
    output: Path,
    *,
    base: str | None = None,
    into: "Into" = "auto",
    bits: Literal[4, 16] | None = None,
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
    shard_size: str = "4GB",
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _what: None,
) -> "MergeReport":
    """Merge an adapter into its base and measure the difference; see `merge.merge`. A run's folder is one as well."""
    from elysia_chat.training.merge import merge

    folder = adapter_folder(adapter)
    convert_embedded(folder, base)
    return merge(
        folder,
        output,
        base=base,
        into=into,
        bits=bits,
        dtype=dtype,
        shard_size=shard_size,
        device=device,
        overwrite=overwrite,
        progress=progress,
    )


def write_gguf(
    folder: Path,
    output: Path,
    kind: "GgufKind" = "q8_0",
    *,
    overwrite: bool = False,
    progress: Callable[[float], None] = lambda _share: None,
) -> "GgufReport":
    """Write a model's folder as one GGUF file; see `gguf.export_gguf`."""
    from elysia_chat.training.gguf import export_gguf

    return export_gguf(folder, output, kind, overwrite=overwrite, progress=progress)


def publish(
    folder: Path,
    repo: str,
    *,
    hub: "Hub" = "huggingface",
    report: Path | None = None,
    base: str | None = None,
    licence: str | None = None,
    private: bool = True,
    dry_run: bool = False,
) -> "PushPlan":
    """Send a folder to a hub with a model card, or say what would be sent; see `push.push`."""
    from elysia_chat.training.push import push

    return push(
        adapter_folder(folder),
        repo,
        hub=hub,
        report=report,
        base=base,
        licence=licence,
        private=private,
        dry_run=dry_run,
    )
