"""What the front ends call: one function for each step from a persona to a model that can be handed over.

Everything heavy is imported inside; what needs a persona's index is put together by the caller and handed in.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.training.distributed import is_main_process
from elysia_chat.training.evaluate.job import (
    EvaluationJob,
    ModelChoice,
    Told,
    adapter_folder,
    convert_embedded,
    evaluate,
    parse_model,
)
from elysia_chat.training.presets import Preset, load_preset, preset_names

if TYPE_CHECKING:
    from elysia_chat.kb.card import CharacterCard
    from elysia_chat.llm.gguf import GgufReport
    from elysia_chat.llm.gguf import Kind as GgufKind
    from elysia_chat.training.dataset.build import BuiltDataset
    from elysia_chat.training.evaluate.files import PreparedPrompts
    from elysia_chat.training.evaluate.prepare import Search
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
]


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
    from elysia_chat.llm.gguf import export_gguf

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
