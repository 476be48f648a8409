"""Training of the search on tiny encoders: questions, losses, and models that the search can use."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from random import Random

import pytest

from elysia_chat.kb.factors import add_factors
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.scenes import join_sections
from elysia_chat.training.errors import PresetError
from elysia_chat.training.search.queries import SearchQuery, Sources
from elysia_chat.training.search.run import FACTORS, MODEL, SearchRun, batches, train_search
from elysia_chat.training.search.workers import drawn_by_workers
from tests.training.tiny_models import save_encoder


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    return save_encoder(tmp_path / "encoder")


def test_questions_come_with_the_passage_that_answers_them_and_others_that_do_not():
    queries = list(islice(Sources().draw("7"), 400))
    assert queries == list(islice(Sources().draw("7"), 400))
    answered = [query for query in queries if query.positive]
    assert 0.75 < len(answered) / len(queries) < 0.97
    assert len({query.origin for query in queries}) > 100
    for query in answered:
        assert query.answer.casefold() in query.positive.casefold()
        assert query.positive not in query.negatives
        assert not any(query.answer.casefold() in passage.casefold() for passage in query.negatives)
    assert all("{" not in text for query in queries for text in (query.text, query.positive))


def test_a_batch_has_no_two_questions_of_one_origin():
    run = SearchRun("reranker", batch=24)
    for batch in islice(batches(run, Sources()), 5):
        assert len({query.origin for query in batch}) == 24


def test_sentences_stand_alone_or_after_the_one_before():
    queries = [query for query in islice(Sources(sentences=1.0).draw("7"), 300) if query.positive]
    assert len(queries) > 200
    for query in queries:
        assert query.answer.casefold() in query.positive.casefold()
        assert not any(query.answer.casefold() in passage.casefold() for passage in query.negatives)
    whole = [query.positive for query in islice(Sources().draw("7"), 300) if query.positive]
    assert sum(map(len, (query.positive for query in queries))) / len(queries) < 0.5 * sum(map(len, whole)) / len(whole)


def test_workers_draw_the_same_questions_each_time():
    def drawn() -> list[list[str]]:
        found = drawn_by_workers(partial(batches, SearchRun("reranker", batch=3), Sources()), 2, "7")
        return [[query.text for query in batch] for batch in islice(found, 4)]

    first = drawn()
    assert first == drawn()
    assert first[0] != first[1]


def test_sections_are_joined_as_the_index_joins_them():
    parts = [Passage("d", "T", f"H{number}", "x" * 150, (), "zh", frozenset()) for number in range(6)]
    seen = set()
    for seed in range(40):
        joined, places = join_sections(Random(seed), parts)
        assert len(places) == 6
        assert places == sorted(places)
        for number, place in enumerate(places):
            holder = joined[place]
            assert f"H{number}" in (holder.heading or holder.text)
            assert len(holder.text) <= 520
        seen.add(len(joined))
    assert len(seen) > 2


class Few(Sources):
    """The same few questions again and again."""

    def draw(self, seed: str) -> Iterator[SearchQuery]:
        few: dict[str, SearchQuery] = {}
        for query in super().draw(seed):
            if query.positive:
                few.setdefault(query.origin, query)
            if len(few) == 6:
                return cycle(few.values())
        raise AssertionError


@pytest.mark.parametrize("task", ["embedder", "reranker"])
def test_the_loss_falls_and_the_encoder_alone_changes(encoder: Path, tmp_path: Path, task: str):
    import torch
    from transformers import BertForSequenceClassification, BertModel

    run = SearchRun(task, steps=60, batch=6, negatives=2, rank=8, learning_rate=1e-2, max_tokens=64)
    results = train_search(run, Few(), encoder, tmp_path / "out")
    losses = results["losses"]
    assert sum(losses[-10:]) < 0.8 * sum(losses[:10])
    plain = (
        BertModel.from_pretrained(encoder, add_pooling_layer=False)
        if task == "embedder"
        else BertForSequenceClassification.from_pretrained(encoder, num_labels=1)
    )
    options = {} if task == "reranker" else {"add_pooling_layer": False}
    merged = type(plain).from_pretrained(tmp_path / "out" / MODEL, **options).state_dict()
    assert set(merged) == set(plain.state_dict())
    state = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    add_factors(state, tmp_path / "out" / FACTORS)
    assert all(torch.allclose(merged[name], state[name], atol=0.02) for name in merged)
    changed = {name for name, tensor in plain.state_dict().items() if not tensor.equal(merged[name])}
    assert sum(".layer." in name for name in changed) == 6
    assert {name for name in changed if ".layer." not in name} <= {
        "bert.pooler.dense.weight", "bert.pooler.dense.bias", "classifier.weight", "classifier.bias",
    }  # fmt: skip


def test_a_run_goes_on_from_the_factors_of_another(encoder: Path, tmp_path: Path):
    from safetensors.torch import load_file

    run = SearchRun("reranker", steps=2, batch=4, negatives=2, rank=8, max_tokens=64)
    train_search(run, Few(), encoder, tmp_path / "first")
    start = str(tmp_path / "first" / FACTORS)
    still = replace(run, steps=1, learning_rate=0.0, start=start)
    train_search(still, Few(), encoder, tmp_path / "again")
    first, again = load_file(start), load_file(tmp_path / "again" / FACTORS)
    assert first.keys() == again.keys()
    assert all(first[name].equal(again[name]) for name in first)


def test_factors_of_another_rank_or_task_are_told(encoder: Path, tmp_path: Path):
    run = SearchRun("embedder", steps=1, batch=4, rank=8, max_tokens=64)
    train_search(run, Few(), encoder, tmp_path / "first")
    start = str(tmp_path / "first" / FACTORS)
    for other in (replace(run, rank=4, start=start), replace(run, task="reranker", start=start)):
        with pytest.raises(PresetError, match="of another rank"):
            train_search(other, Few(), encoder, tmp_path / "out")
    with pytest.raises(PresetError, match="holds no factors"):
        train_search(replace(run, start=str(tmp_path / "none.safetensors")), Few(), encoder, tmp_path / "out")


def test_a_run_ends_with_its_clock(encoder: Path, tmp_path: Path):
    run = SearchRun("embedder", steps=10**6, batch=4, rank=4, max_tokens=64, max_seconds=1.0)
    results = train_search(run, Few(), encoder, tmp_path / "out")
    assert 0 < len(results["losses"]) < 10**6
    assert (results["max_seconds"], results["seconds"] >= 1.0) == (1.0, True)
    assert (tmp_path / "out" / FACTORS).is_file()


def test_settings_that_make_no_sense_are_told(encoder: Path, tmp_path: Path):
    with pytest.raises(PresetError, match="at least 1"):
        train_search(SearchRun("reranker", steps=0), Sources(), encoder, tmp_path)
    with pytest.raises(PresetError, match="from 0 to 1"):
        train_search(SearchRun("reranker", sentences=2.0), Sources(), encoder, tmp_path)


def test_a_base_that_is_no_encoder_is_told(encoder: Path, tmp_path: Path):
    with pytest.raises(PresetError, match="holds no model"):
        train_search(SearchRun("reranker"), Sources(), tmp_path / "none", tmp_path / "out")
    settings = json.loads((encoder / "config.json").read_text(encoding="utf-8"))
    (encoder / "config.json").write_text(json.dumps({**settings, "model_type": "gpt2"}), encoding="utf-8")
    with pytest.raises(PresetError, match="gpt2"):
        train_search(SearchRun("reranker"), Sources(), encoder, tmp_path / "out")
