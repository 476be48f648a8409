"""The contract of embeddings, which the fake and the embedded model keep."""

import threading
from pathlib import Path

import numpy as np
import pytest
from langchain_core.embeddings import Embeddings

from elysia_chat.configs.settings import EmbeddingSettings
from elysia_chat.kb.embeddings import build_embeddings, embedding_fingerprint
from elysia_chat.kb.errors import EmbeddingModelError
from elysia_chat.kb.fakes import HashEmbeddings

PASSAGES = [
    "爱莉希雅最喜欢的花是水晶花。",
    "Kevin is the leader of the Flame-Chasers.",
    "格蕾修喜欢画画，总是带着颜料。",
    "The ferry leaves at half past seven in the morning.",
]


@pytest.fixture(scope="module")
def embedded() -> Embeddings:
    return build_embeddings(EmbeddingSettings(threads=1))


@pytest.fixture(params=["hash", pytest.param("embedded", marks=pytest.mark.weights)])
def embeddings(request: pytest.FixtureRequest) -> Embeddings:
    return HashEmbeddings() if request.param == "hash" else request.getfixturevalue("embedded")


def test_vectors_have_length_one_and_one_size(embeddings: Embeddings):
    vectors = np.array(embeddings.embed_documents([*PASSAGES, "", "♪", "x" * 20_000]))
    assert vectors.shape == (7, len(embeddings.embed_query("花")))
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(7), abs=1e-4)
    assert np.linalg.norm(embeddings.embed_query("")) == pytest.approx(1.0, abs=1e-4)


def test_nothing_gives_nothing(embeddings: Embeddings):
    assert embeddings.embed_documents([]) == []


def test_the_same_text_gives_the_same_vector_whatever_is_beside_it(embeddings: Embeddings):
    alone = np.array([embeddings.embed_documents([text])[0] for text in PASSAGES])
    together = np.array(embeddings.embed_documents(PASSAGES))
    assert (together * alone).sum(axis=1) == pytest.approx(np.ones(len(PASSAGES)), abs=1e-4)
    assert embeddings.embed_query("花") == embeddings.embed_query("花")


@pytest.mark.parametrize(
    ("question", "best"), [("爱莉希雅喜欢什么花？", 0), ("Who is the leader?", 1), ("格蕾修带着什么颜料", 2)]
)
def test_the_passage_that_shares_words_is_nearest(embeddings: Embeddings, question: str, best: int):
    scores = np.array(embeddings.embed_documents(PASSAGES)) @ np.array(embeddings.embed_query(question))
    assert int(scores.argmax()) == best


def test_threads_may_share_it(embeddings: Embeddings):
    expected = np.array(embeddings.embed_documents(PASSAGES))
    wrong: list[object] = []

    def work() -> None:
        try:
            for _ in range(3):
                if not np.allclose(embeddings.embed_documents(PASSAGES), expected, atol=1e-4):
                    wrong.append("another vector")
                embeddings.embed_query("花")
        except RuntimeError as error:
            wrong.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert wrong == []


def test_a_fingerprint_names_model_and_prompts(tmp_path: Path):
    def of(name: str) -> str:
        return embedding_fingerprint(EmbeddingSettings(name=name))

    names = ["hash", "embedded", "BAAI/bge-small-zh-v1.5", "intfloat/multilingual-e5-base"]
    assert len({of(name) for name in names}) == len(names)
    assert of("embedded") == embedding_fingerprint(EmbeddingSettings(device="cpu", batch_size=2))
    for name in names:
        assert len(of(name)) <= 22
        assert of(name).replace("-", "").isalnum()


def test_a_folder_is_known_by_what_it_holds(tmp_path: Path):
    def of(folder: Path) -> str:
        return embedding_fingerprint(EmbeddingSettings(name=str(folder)))

    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text("{}")
        (tmp_path / name / "model.safetensors").write_bytes(b"weights" * 500_000)
    before = of(tmp_path / "one")
    assert before == of(tmp_path / "two")
    (tmp_path / "one" / "model.safetensors").write_bytes(b"weights" * 499_999 + b"changed")
    assert of(tmp_path / "one") != before
    (tmp_path / "two" / "config.json").write_text('{"prompts": {}}')
    assert of(tmp_path / "two") != before


def test_a_model_that_is_not_there_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(EmbeddingModelError, match="Cannot load the embedding model") as caught:
        build_embeddings(EmbeddingSettings(name=str(tmp_path / "none")))
    assert "\n" not in str(caught.value)


def tiny_sentence_model(folder: Path, prompts: dict[str, str]) -> Path:
    """Write a sentence-transformers model with one small layer and random weights."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules
    from transformers import BertConfig, BertModel, BertTokenizerFast

    folder.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"问：文爱莉希雅花abcdefgh"]
    (folder / "vocab.txt").write_text("\n".join(words), encoding="utf-8")
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), initializer_range=1.0, **sizes)).save_pretrained(folder)
    BertTokenizerFast(vocab=str(folder / "vocab.txt")).save_pretrained(folder)
    parts = [modules.Transformer(str(folder)), modules.Pooling(16, pooling_mode="mean")]
    SentenceTransformer(modules=parts, prompts=prompts, device="cpu").save(str(folder), create_model_card=False)
    return folder


def test_any_sentence_transformers_folder_with_its_own_prompts(tmp_path: Path):
    plain = build_embeddings(EmbeddingSettings(name=str(tiny_sentence_model(tmp_path / "plain", {}))))
    asked = build_embeddings(
        EmbeddingSettings(name=str(tiny_sentence_model(tmp_path / "asked", {"query": "问：", "document": "文："})))
    )
    assert np.linalg.norm(plain.embed_query("花")) == pytest.approx(1.0, abs=1e-5)
    assert plain.embed_query("花") == pytest.approx(plain.embed_documents(["花"])[0], abs=1e-5)
    assert asked.embed_query("花") == pytest.approx(plain.embed_query("问：花"), abs=1e-5)
    assert asked.embed_documents(["花"])[0] == pytest.approx(plain.embed_query("文：花"), abs=1e-5)


def test_batches_are_put_back_in_order(tmp_path: Path):
    made = build_embeddings(EmbeddingSettings(name=str(tiny_sentence_model(tmp_path / "m", {})), batch_size=2))
    texts = ["花", "abcdefgh" * 5, "爱", "abc", "莉希雅花花花"]
    assert np.array(made.embed_documents(texts)) == pytest.approx(
        np.array([made.embed_query(t) for t in texts]), abs=1e-5
    )
