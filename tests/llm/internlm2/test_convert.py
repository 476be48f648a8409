"""A whole published folder becomes one that the chat loads."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elysia_chat.llm.errors import ConversionError, ModelLoadError
from elysia_chat.llm.internlm2.convert import convert_model, is_internlm2
from elysia_chat.llm.loading import check_folder, load_model

from . import pieces
from .oracle import InternLM2, save


def published(folder: Path, **changes: Any) -> Path:
    """Write a tiny InternLM2 with its tokenizer, as on a hub."""
    save(InternLM2(vocab_size=600, **changes), folder)
    pieces.train(folder / "tokenizer.model")
    (folder / "modeling_internlm2.py").write_text("raise SystemExit('this code must not run')")
    return folder


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return published(tmp_path / "source")


def convert(source: Path, tmp_path: Path) -> Path:
    target = tmp_path / "target"
    target.mkdir(exist_ok=True)
    convert_model(source, target)
    return target


def test_the_result_is_loaded_without_remote_code(source: Path, tmp_path: Path):
    target = convert(source, tmp_path)
    check_folder(target)
    model, tokenizer = load_model(str(target), None, "float32", "cpu")
    ids = tokenizer("你好 hello", return_tensors="pt").input_ids
    with torch.no_grad():
        assert torch.allclose(model(ids).logits, InternLM2(vocab_size=600)(ids), atol=1e-5)
    turn_end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    assert model.generation_config.eos_token_id == [2, turn_end]
    assert not list(target.glob("*.py"))
    assert "auto_map" not in (target / "config.json").read_text()


def test_own_generation_settings_are_kept(source: Path, tmp_path: Path):
    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [2, 7], "max_length": 100}))
    made = json.loads((convert(source, tmp_path) / "generation_config.json").read_text())
    assert made["max_length"] == 100
    assert {2, 7} < set(made["eos_token_id"])


def test_what_is_internlm2(source: Path, tmp_path: Path):
    assert is_internlm2(source)
    assert not is_internlm2(convert(source, tmp_path))
    assert not is_internlm2(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("file", "content", "error", "message"),
    [
        ("config.json", None, ModelLoadError, "its config.json is missing or damaged"),
        ("config.json", "[]", ModelLoadError, "names no model_type"),
        ("tokenizer.model", None, ConversionError, "holds no tokenizer"),
        ("generation_config.json", "{", ConversionError, r"generation_config\.json is damaged"),
        ("tokenizer_config.json", "{", ConversionError, r"tokenizer_config\.json is damaged"),
        ("model.safetensors", None, ModelLoadError, "holds no weights"),
    ],
)
def test_damaged_folders(
    source: Path, tmp_path: Path, file: str, content: str | None, error: type[Exception], message: str
):
    (source / file).unlink(missing_ok=True)
    if content is not None:
        (source / file).write_text(content)
    with pytest.raises(error, match=message):
        convert(source, tmp_path)
