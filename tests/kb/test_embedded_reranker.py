"""The embedded reranker: made of a tiny encoder here, and of the real weights where the factors are there."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from elysia_chat.configs.paths import models_dir
from elysia_chat.configs.settings import EmbeddingSettings, RetrievalSettings
from elysia_chat.kb import embedded_reranker
from elysia_chat.kb.embedded_reranker import FOLDER, embedded_reranker_folder, has_factors
from elysia_chat.kb.errors import EmbeddingModelError, RerankerError
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

    monkeypatch.setattr(embedded_reranker, "checked_weights", lambda: folder)
    monkeypatch.setattr(embedded_reranker, "plain_encoder", plain_encoder)
    return read


@pytest.fixture
def factors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Write factors for the tiny encoder where the installation's would be."""
    path = tmp_path / "adapters" / "reranker.safetensors"
    write_factors(path, 1.0)
    monkeypatch.setattr(embedded_reranker, "_factors", lambda: path)
    return path


def write_factors(path: Path, bias: float) -> None:
    import torch
    from safetensors.torch import save_file

    path.parent.mkdir(exist_ok=True)
    tensors = {
        f"{LAYER}.down": torch.ones(2, 16),
        f"{LAYER}.up": torch.ones(16, 2),
        "classifier.weight": torch.linspace(-1, 1, 16)[None],
        "classifier.bias": torch.full((1,), bias),
    }
    save_file(tensors, path, metadata={"format": FORMAT})


def test_it_is_the_encoder_with_its_factors(tmp_path: Path, encoder: list[int], factors: Path):
    from transformers import BertForSequenceClassification, BertModel

    folder = embedded_reranker_folder()
    made = BertForSequenceClassification.from_pretrained(folder)
    plain = BertModel.from_pretrained(tmp_path / "encoder").state_dict()
    changed = {name for name, tensor in plain.items() if not tensor.equal(made.bert.state_dict()[name])}
    assert changed == {f"{LAYER}.weight"}
    assert made.bert.state_dict()[f"{LAYER}.weight"].equal(plain[f"{LAYER}.weight"] + 2.0)
    assert made.classifier.bias.item() == 1.0


def test_it_is_made_once_and_again_for_other_factors(encoder: list[int], factors: Path):
    folder = embedded_reranker_folder()
    assert folder == models_dir() / FOLDER == embedded_reranker_folder()
    assert len(encoder) == 1
    write_factors(factors, 2.0)
    embedded_reranker_folder()
    assert len(encoder) == 2
    (folder / "tokenizer.json").unlink()
    embedded_reranker_folder()
    assert len(encoder) == 3
    (folder / "conversion.json").write_text("{")
    embedded_reranker_folder()
    assert len(encoder) == 4


def test_factors_that_do_not_fit_leave_nothing_behind(encoder: list[int], factors: Path):
    factors.write_bytes(factors.read_bytes()[:100])
    with pytest.raises(EmbeddingModelError, match="cut short"):
        embedded_reranker_folder()
    assert [path.name for path in models_dir().iterdir() if path.suffix != ".lock"] == []


def test_missing_factors_are_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded_reranker, "_factors", lambda: tmp_path / "none")
    with pytest.raises(RerankerError, match=r"retrieval\.reranker=none") as caught:
        embedded_reranker_folder()
    assert "\n" not in str(caught.value)


def test_the_settings_name_it(encoder: list[int], factors: Path, memory_kb: KnowledgeBase):
    settings = RetrievalSettings(reranker="embedded", k=3, sentences=2, min_score=None)
    found = build_retriever(settings, memory_kb).invoke("爱莉希雅的生日是哪一天")
    assert len(found) == 2
    assert all(document.metadata["evidence"] == document.page_content for document in found)
    assert RetrievalSettings(reranker="none").reranker is None
    assert build_reranker(None, EmbeddingSettings()) is None


real = pytest.mark.skipif(not has_factors(), reason="the reranker's factors are not part of this checkout")


@real
@pytest.mark.weights
def test_the_real_one_tells_what_answers_from_what_does_not():
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


@real
@pytest.mark.weights
@pytest.mark.slow
def test_two_processes_make_it_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ELYSIA_CHAT_HOME", str(tmp_path))
    code = "from elysia_chat.kb.embedded_reranker import embedded_reranker_folder as f; print(f())"
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    told = {process.communicate(timeout=300)[0].strip() for process in both}
    assert told == {str(tmp_path / "models" / FOLDER)}
    assert json.loads((tmp_path / "models" / FOLDER / "conversion.json").read_text())["identity"]
