"""The cross-encoder, on a tiny model that is made here."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elysia_chat.configs.settings import RetrievalSettings
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import RerankerError
from elysia_chat.kb.rerank import CrossEncoderReranker
from elysia_chat.kb.retriever import build_retriever
from elysia_chat.kb.store import KnowledgeBase


def tiny_cross_encoder(folder: Path, labels: int = 1) -> Path:
    """Write a BERT with one small layer, random weights, and one character per word."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    words = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *"爱莉希雅的生日是哪一天她十月喜欢花",
        *"abcdefghijklmnopqrstuvwxyz",
    ]
    (folder / "vocab.txt").parent.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        num_labels=labels,
        initializer_range=1.0,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_scores_are_of_the_pair_and_within_0_and_1(tmp_path: Path):
    reranker = CrossEncoderReranker(str(tiny_cross_encoder(tmp_path / "model")), "cpu")
    passages = ["她的生日是十一月", "喜欢花", "abc"]
    scores = reranker.scores("爱莉希雅的生日是哪一天", passages)
    assert len(scores) == 3
    assert all(0.0 < score < 1.0 for score in scores)
    assert len(set(scores)) == 3
    assert reranker.scores("花", passages) != scores
    assert reranker.scores("爱莉希雅的生日是哪一天", passages[::-1]) == pytest.approx(scores[::-1], abs=1e-5)


def test_the_retriever_takes_it_by_name(tmp_path: Path, memory_kb: KnowledgeBase):
    folder = tiny_cross_encoder(tmp_path / "model")
    found = build_retriever(RetrievalSettings(reranker=str(folder), k=3), memory_kb).invoke("爱莉希雅的生日是哪一天")
    scores = [document.metadata["score"] for document in found]
    expected = CrossEncoderReranker(str(folder)).scores(
        "爱莉希雅的生日是哪一天", [Chunk.from_stored("", d.page_content, d.metadata).indexed_text for d in found]
    )
    assert scores == pytest.approx(expected, abs=1e-5)
    assert scores == sorted(scores, reverse=True)


def test_a_model_with_more_labels_is_refused(tmp_path: Path):
    with pytest.raises(RerankerError, match="3 labels"):
        CrossEncoderReranker(str(tiny_cross_encoder(tmp_path / "model", labels=3)))


def test_a_model_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(RerankerError, match="Cannot load the reranker"):
        CrossEncoderReranker(str(tmp_path / "none"))


def test_threads_may_share_it_and_length_makes_no_difference(tmp_path: Path):
    reranker = CrossEncoderReranker(str(tiny_cross_encoder(tmp_path / "model")), "cpu")
    passages = ["生日" * (1 + number * 37 % 150) + "花" for number in range(60)]
    alone = [reranker.scores("花", [passage])[0] for passage in passages]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda _: reranker.scores("花", passages), range(4)))
    assert all(scores == pytest.approx(alone, abs=0.02) for scores in together)
    assert reranker.scores("花", []) == []


def test_a_passage_longer_than_the_model_reads_is_cut(tmp_path: Path):
    reranker = CrossEncoderReranker(str(tiny_cross_encoder(tmp_path / "model")), "cpu")
    (whole, longer) = reranker.scores("花", ["生日" * 600, "生日" * 900])
    assert whole == pytest.approx(longer, abs=0.02)
