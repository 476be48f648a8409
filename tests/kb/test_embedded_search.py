"""The embedded embedder and reranker: made of a tiny encoder here, and of the real weights and factors."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from elysia_chat.configs.paths import models_dir
from elysia_chat.configs.settings import EmbeddingSettings, RetrievalSettings
from elysia_chat.kb import embedded_search
from elysia_chat.kb.embedded_search import EMBEDDER, RERANKER, EmbeddedModel
from elysia_chat.kb.embeddings import build_embeddings, embedding_fingerprint
from elysia_chat.kb.errors import EmbeddingModelError, KnowledgeBaseError, RerankerError
from elysia_chat.kb.factors import FORMAT
from elysia_chat.kb.rerank import build_reranker
from elysia_chat.kb.retriever import build_retriever
from elysia_chat.kb.store import KnowledgeBase

from .test_rerank import tiny_cross_encoder

LAYER = "encoder.layer.0.output.dense"


@pytest.fixture
def encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put a tiny encoder in the place of the embedded one; the list has one item for each time it was read."""
    from transformers import AutoTokenizer, BertModel

    folder = tiny_cross_encoder(tmp_path / "encoder")
    read: list[int] = []

    def plain_encoder(_source: Path) -> tuple[object, object]:
        read.append(1)
        return BertModel.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)

    monkeypatch.setattr(embedded_search, "checked_weights", lambda: folder)
    monkeypatch.setattr(embedded_search, "plain_encoder", plain_encoder)
    return read


@pytest.fixture
def factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write factors for the tiny encoder where the installation's would be; the folder with both files."""
    folder = tmp_path / "adapters"
    folder.mkdir()
    for model in (EMBEDDER, RERANKER):
        write_factors(model, folder, 1.0)
    monkeypatch.setattr(EmbeddedModel, "_file", lambda model: folder / model.factors)
    return folder


def write_factors(model: EmbeddedModel, folder: Path, size: float) -> None:
    import torch
    from safetensors.torch import save_file

    tensors = {f"{LAYER}.down": torch.ones(2, 16), f"{LAYER}.up": torch.full((16, 2), size)}
    if model is RERANKER:
        tensors["classifier.weight"] = torch.linspace(-1, 1, 16)[None]
        tensors["classifier.bias"] = torch.full((1,), size)
    save_file(tensors, folder / model.factors, metadata={"format": FORMAT})


def test_they_are_the_encoder_with_their_factors(tmp_path: Path, encoder: list[int], factors: Path):
    from transformers import BertForSequenceClassification, BertModel

    reranker = BertForSequenceClassification.from_pretrained(RERANKER.folder())
    assert reranker.classifier.bias.item() == 1.0
    plain = BertModel.from_pretrained(tmp_path / "encoder").state_dict()
    for made in (reranker.bert, BertModel.from_pretrained(EMBEDDER.folder())):
        changed = {name for name, tensor in plain.items() if not tensor.equal(made.state_dict()[name])}
        assert changed == {f"{LAYER}.weight"}
        assert made.state_dict()[f"{LAYER}.weight"].equal(plain[f"{LAYER}.weight"] + 2.0)


def test_the_embedder_gives_vectors_of_length_one_and_knows_its_prompts(encoder: list[int], factors: Path):
    embeddings = build_embeddings(EmbeddingSettings(name="embedded", threads=1))
    vector = embeddings.embed_query("花")
    assert sum(value * value for value in vector) == pytest.approx(1.0, abs=1e-3)
    config = json.loads((EMBEDDER.folder() / "config_sentence_transformers.json").read_text())
    assert (config["prompts"]["query"], config["prompts"]["passage"]) == ("query: ", "passage: ")


@pytest.mark.parametrize("model", [EMBEDDER, RERANKER], ids=lambda model: model.name)
def test_each_is_made_once_and_again_for_other_factors(encoder: list[int], factors: Path, model: EmbeddedModel):
    folder = model.folder()
    assert folder == models_dir() / model.name == model.folder()
    assert len(encoder) == 1
    write_factors(model, factors, 2.0)
    model.folder()
    assert len(encoder) == 2
    (folder / "tokenizer.json").unlink()
    model.folder()
    assert len(encoder) == 3


def test_another_index_belongs_to_other_factors(factors: Path):
    settings = EmbeddingSettings(name="embedded")
    before = embedding_fingerprint(settings)
    assert before == embedding_fingerprint(settings)
    write_factors(EMBEDDER, factors, 2.0)
    assert embedding_fingerprint(settings) != before


def test_factors_that_do_not_fit_leave_nothing_behind(encoder: list[int], factors: Path):
    for model in (EMBEDDER, RERANKER):
        path = factors / model.factors
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(EmbeddingModelError, match="cut short"):
            model.folder()
    assert [path.name for path in models_dir().iterdir() if path.suffix != ".lock"] == []


@pytest.mark.parametrize(
    ("model", "error", "advice"),
    [(EMBEDDER, EmbeddingModelError, r"embeddings\.name="), (RERANKER, RerankerError, r"retrieval\.reranker=none")],
)
def test_missing_factors_are_told_in_one_line(
    factors: Path, model: EmbeddedModel, error: type[KnowledgeBaseError], advice: str
):
    (factors / model.factors).unlink()
    with pytest.raises(error, match=advice) as caught:
        model.folder()
    assert "\n" not in str(caught.value)


def test_the_settings_name_it(encoder: list[int], factors: Path, memory_kb: KnowledgeBase):
    settings = RetrievalSettings(reranker="embedded", k=3, sentences=2, min_score=None)
    found = build_retriever(settings, memory_kb).invoke("爱莉希雅的生日是哪一天")
    assert len(found) == 2
    assert all(document.metadata["evidence"] == document.page_content for document in found)
    assert RetrievalSettings(reranker="none").reranker is None
    assert build_reranker(None, EmbeddingSettings()) is None


@pytest.mark.weights
def test_meaning_crosses_languages():
    model = build_embeddings(EmbeddingSettings(threads=1))
    passages = ["爱莉希雅出生于十一月十一日。", "格蕾修是一位画家。", "火车每天七点半发车。"]
    scores = np.array(model.embed_documents(passages)) @ np.array(model.embed_query("When was Elysia born?"))
    assert int(scores.argmax()) == 0
    scores = np.array(model.embed_documents(passages)) @ np.array(model.embed_query("What does the artist paint?"))
    assert int(scores.argmax()) == 1


@pytest.mark.weights
def test_the_real_reranker_tells_what_answers_from_what_does_not():
    reranker = build_reranker("embedded", EmbeddingSettings(threads=1))
    assert reranker is not None
    for question, passages in {
        "铃的生日是哪一天？": [
            "铃 > 生日\n铃的生日是五月三日。",
            "铃 > 喜好\n铃喜欢喝红茶。",
            "港口\n渡船每天早上六点开。",
        ],
        "When does the ferry leave?": [
            "Harbour > Ships\nThe ferry Heron leaves at six every morning.",
            "Harbour > Ships\nThe ferry Heron is painted blue and white.",
            "Garden\nViolet grows moonflowers behind the old observatory.",
        ],
    }.items():
        scores = reranker.scores(question, passages)
        assert scores[0] == max(scores) > 0.5
        assert scores[2] < 0.5


@pytest.mark.weights
@pytest.mark.slow
def test_two_processes_make_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ELYSIA_CHAT_HOME", str(tmp_path))
    code = "from elysia_chat.kb.embedded_search import RERANKER; print(RERANKER.folder())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate(timeout=300)[0].strip() for process in both}
    assert told == {str(tmp_path / "models" / RERANKER.name)}
    assert json.loads((tmp_path / "models" / RERANKER.name / "conversion.json").read_text())["identity"]
