"""Fine-tune the search: an adapter that makes the embedding model find better, or one that makes a reranker of it.

Both learn from `queries.Sources`. The embedder's loss is the cross-entropy of the right passage among the passages of
the whole batch (InfoNCE, Oord et al. 2018, arXiv:1807.03748); the reranker's is the binary cross-entropy of each pair
plus the cross-entropy of the right passage among those of its question.
"""

import itertools
import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.kb.embeddings import without_progress_bars
from elysia_chat.training.errors import PresetError
from elysia_chat.training.search.lora import add_lora, load_factors, save_factors
from elysia_chat.training.search.queries import SearchQuery, Sources

if TYPE_CHECKING:
    import torch

Task = Literal["embedder", "reranker"]
FACTORS, RESULTS, MODEL = "factors.safetensors", "results.json", "model"
QUERY, PASSAGE = "query: ", "passage: "
HEADS = ("pooler", "classifier")
_WARM_UP = 0.06


@dataclass(frozen=True)
class SearchRun:
    """How a search model is trained.

    Attributes:
        task: "embedder" or "reranker".
        steps: optimiser steps.
        batch: questions a step.
        negatives: passages a question that do not answer it, at most.
        rank: of the low-rank changes.
        learning_rate: the highest one; it falls linearly after a warm-up of 6 %.
        temperature: of the embedder's similarities.
        max_tokens: of a passage, or of a question and a passage together.
        seed: of the questions and the start.
        sentences: share of a reranker's questions whose passages are cut into sentences.
        workers: processes that draw questions; with another number other questions are drawn. 0: none beside this one.
        start: the factors of an earlier run of the same task and rank, to go on from; "" for none.
        max_seconds: after which the run ends, its learning rate brought down in time; 0: after its steps alone.
    """

    task: Task
    steps: int = 2000
    batch: int = 64
    negatives: int = 5
    rank: int = 64
    learning_rate: float = 5e-4
    temperature: float = 0.03
    max_tokens: int = 400
    seed: int = 1
    sentences: float = 0.4
    workers: int = 0
    start: str = ""
    max_seconds: float = 0.0


def train_search(
    run: SearchRun, sources: Sources, base: Path, out: Path, progress: Callable[[int], None] | None = None
) -> dict[str, Any]:
    """Train, and write the model, its changes by themselves, and what they came from.

    The folder `model` holds the encoder with its changes: a reranker for `retrieval.reranker`, or, made from a
    sentence-transformers folder, an embedding model for `embeddings.name`.

    Args:
        run: how.
        sources: what questions are drawn from.
        base: folder of the encoder, in transformers' or sentence-transformers' form.
        out: folder to write to.
        progress: told how many steps are done.

    Returns:
        What `results.json` holds.

    Raises:
        PresetError: the settings make no sense, the base holds no BERT encoder, or the factors do not fit it.
    """
    import torch
    from transformers import AutoTokenizer

    if run.task not in ("embedder", "reranker") or min(run.steps, run.batch, run.negatives, run.rank) < 1:
        msg = "A search run needs the task embedder or reranker, and steps, batch, negatives and rank of at least 1."
        raise PresetError(msg)
    if min(run.workers, run.max_seconds) < 0 or not 0 <= run.sentences <= 1:
        msg = "The workers and seconds of a search run are 0 or more, and its sentences a share from 0 to 1."
        raise PresetError(msg)
    if run.task == "reranker":
        sources = replace(sources, sentences=run.sentences)
    ensure_dir(out)
    torch.manual_seed(run.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    _check_base(base)
    with _without_reports():
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = _model(run, base).to(device)
    if run.start:
        load_factors(model, Path(run.start))
    optimiser = torch.optim.AdamW(
        [parameter for parameter in model.parameters() if parameter.requires_grad],
        lr=run.learning_rate, weight_decay=0.01,
    )  # fmt: skip
    started = time.monotonic()
    done = partial(_done, run, started)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser,
        lambda step: min((done(step) + 1 / run.steps) / _WARM_UP, (1 - done(step)) / (1 - _WARM_UP), 1.0),
    )
    loss_of = _embedder_loss if run.task == "embedder" else _reranker_loss
    losses: list[float] = []
    for queries in itertools.islice(_drawn(run, sources), run.steps):
        with torch.autocast(device.type, torch.bfloat16):
            loss = loss_of(run, model, tokenizer, queries)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        losses.append(float(loss.detach()))
        if progress is not None:
            progress(len(losses))
        if done(len(losses)) >= 1.0:
            break
    last = losses[-max(1, len(losses) // 10) :]
    facts = {
        **asdict(run), "loss": round(sum(last) / len(last), 4), "seconds": round(time.monotonic() - started, 1),
        "device": device.type,
    }  # fmt: skip
    save_factors(model, out / FACTORS, facts)
    results = {**facts, "losses": [round(value, 4) for value in losses]}
    (out / RESULTS).write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if run.task == "embedder":
        shutil.copytree(base, out / MODEL, dirs_exist_ok=True)
    with _without_reports():
        model.merge_and_unload().save_pretrained(out / MODEL)
        tokenizer.save_pretrained(out / MODEL)
    return results


def _done(run: SearchRun, started: float, steps: int) -> float:
    """Return how much of a run is done, from 0 to 1, by its steps or by its clock."""
    passed = (time.monotonic() - started) / run.max_seconds if run.max_seconds else 0.0
    return min(1.0, max(steps / run.steps, passed))


def _drawn(run: SearchRun, sources: Sources) -> Iterator[list[SearchQuery]]:
    """Yield the batches, drawn by as many processes as the run says."""
    if not run.workers:
        return batches(run, sources)
    from elysia_chat.training.search.workers import drawn_by_workers

    return drawn_by_workers(partial(batches, run, sources), run.workers, str(run.seed))


def batches(run: SearchRun, sources: Sources, seed: str | None = None) -> Iterator[list[SearchQuery]]:
    """Yield batches of questions of different origins; the embedder's are all answered."""
    drawn = sources.draw(str(run.seed) if seed is None else seed)
    while True:
        batch: dict[str, SearchQuery] = {}
        while len(batch) < run.batch:
            query = next(drawn)
            if query.positive or run.task == "reranker":
                batch.setdefault(query.origin, query)
        yield list(batch.values())


def _model(run: SearchRun, base: Path) -> Any:
    from transformers import BertForSequenceClassification, BertModel

    if run.task == "embedder":
        return add_lora(BertModel.from_pretrained(base, add_pooling_layer=False), run.rank)
    model = BertForSequenceClassification.from_pretrained(base, num_labels=1)
    # The embedding model has no pooler of its own to start from.
    model.bert.pooler.dense.weight.data.normal_(0.0, 0.02)
    return add_lora(model, run.rank, whole=HEADS)


def _check_base(base: Path) -> None:
    """Raise a PresetError where the folder holds no encoder of the kind that is trained."""
    from transformers import AutoConfig

    try:
        kind = AutoConfig.from_pretrained(base).model_type
    except (OSError, ValueError) as error:
        msg = f"{base} holds no model: name a folder with a BERT encoder, or 'embedded'."
        raise PresetError(msg) from error
    if kind != "bert":
        msg = f"{base} holds a model of the kind '{kind}'; the search is trained on BERT encoders."
        raise PresetError(msg)


@contextmanager
def _without_reports() -> Iterator[None]:
    """Keep transformers from listing the heads that it leaves out or makes anew, and from drawing progress bars."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with without_progress_bars():
            yield
    finally:
        logging.set_verbosity(before)


def _embedder_loss(run: SearchRun, model: Any, tokenizer: Any, queries: Sequence[SearchQuery]) -> "torch.Tensor":
    import torch

    passages = [query.positive for query in queries]
    passages += [passage for query in queries for passage in query.negatives[: run.negatives]]
    asked = _embed(model, tokenizer, [QUERY + query.text for query in queries], run.max_tokens)
    found = _embed(model, tokenizer, [PASSAGE + passage for passage in passages], run.max_tokens)
    scores = asked @ found.T / run.temperature
    # A passage that holds the same answer words may be right as well; it does not count as wrong.
    for row, query in enumerate(queries):
        for column, passage in enumerate(passages):
            if (
                column != row
                and query.answer
                and len(query.answer) > 1
                and query.answer.casefold() in passage.casefold()
            ):
                scores[row, column] = float("-inf")
    return torch.nn.functional.cross_entropy(scores, torch.arange(len(queries), device=scores.device))


def _embed(model: Any, tokenizer: Any, texts: list[str], max_tokens: int) -> "torch.Tensor":
    import torch

    inputs = tokenizer(texts, truncation=True, max_length=max_tokens, padding=True, return_tensors="pt")
    inputs = inputs.to(model.device)
    hidden = model(**inputs).last_hidden_state.float()
    mask = inputs["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((hidden * mask).sum(1) / mask.sum(1), dim=-1)


def _reranker_loss(run: SearchRun, model: Any, tokenizer: Any, queries: Sequence[SearchQuery]) -> "torch.Tensor":
    import torch

    groups = [[query.positive] * bool(query.positive) + list(query.negatives[: run.negatives]) for query in queries]
    pairs = [(query.text, passage) for query, group in zip(queries, groups, strict=True) for passage in group]
    inputs = tokenizer(
        [text for text, _ in pairs], [passage for _, passage in pairs],
        truncation="only_second", max_length=run.max_tokens, padding=True, return_tensors="pt",
    )  # fmt: skip
    scores = model(**inputs.to(model.device)).logits.float().squeeze(-1)
    labels = torch.tensor(
        [
            float(bool(query.positive) and number == 0)
            for query, group in zip(queries, groups, strict=True)
            for number in range(len(group))
        ],
        device=scores.device,
    )
    loss = torch.nn.functional.binary_cross_entropy_with_logits(scores, labels)
    first, answered = 0, []
    for query, group in zip(queries, groups, strict=True):
        if query.positive:
            answered.append(-torch.log_softmax(scores[first : first + len(group)], 0)[0])
        first += len(group)
    return loss + torch.stack(answered).mean() if answered else loss
