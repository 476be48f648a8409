"""Every preset loads, says how it is used, and trains a tiny model of its shape from end to end."""

import json
import re
import shlex
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import yaml

from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import load_preset, preset_names
from elysia_chat.training.run import run_training
from tests.training.test_run import write_data
from tests.training.tiny_models import TEXTS, save_model, tiny_llama

PRESETS = [
    "embedded", "embedded-continue", "embedded-cpu", "internlm2-7b-pretrain-qlora", "internlm2-chat-1.8b-qlora",
    "internlm2-chat-7b-qlora", "internlm2_5-chat-1.8b-qlora", "internlm2_5-chat-7b-qlora",
]  # fmt: skip
TINY = ["train.device=cpu", "model.dtype=float32", "lora.r=4", "train.max_steps=2", "train.log_steps=1",
        "train.accumulation=2", "data.max_tokens=400", "train.batch_tokens=400"]  # fmt: skip


def head(name: str) -> list[str]:
    text = files("elysia_chat.configs").joinpath("training", f"{name}.yaml").read_text(encoding="utf-8")
    return [line.removeprefix("#").strip() for line in text.splitlines() if line.startswith("#")]


def test_these_are_all_the_presets() -> None:
    assert preset_names() == PRESETS


@pytest.mark.parametrize("name", PRESETS)
def test_the_head_gives_the_command_and_one_override(name: str) -> None:
    commands = [shlex.split(line) for line in head(name) if line.startswith("elysia-chat")]
    assert len(commands) == 2
    plain, changed = commands
    for words in commands:
        assert words[:4] == ["elysia-chat", "train", "run", name]
        assert "--out" in words
        load_preset(name, [word for word in words[4:] if "=" in word])
    assert len(changed) > len(plain)
    assert head(name)[0]


@pytest.mark.parametrize("name", ["internlm2-chat-1.8b-qlora", "internlm2-chat-7b-qlora"])
def test_the_hyperparameters_are_those_of_the_recipes(name: str) -> None:
    preset = load_preset(name)
    assert (preset.lora.r, preset.lora.alpha, preset.lora.dropout) == (64, 16, 0.1)
    assert (preset.train.learning_rate, preset.train.warmup_share, preset.train.end_share) == (2e-4, 0.03, 0.0)
    assert (preset.train.accumulation, preset.train.max_grad_norm) == (16, 1.0)
    assert preset.data.packing
    assert preset.model.bits == 4


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return save_model(tiny_llama(), tmp_path / "internlm2-tiny")


@pytest.mark.parametrize("name", ["internlm2-chat-1.8b-qlora", "internlm2-chat-7b-qlora"])
def test_a_tiny_model_of_the_shape_is_tuned_in_four_bits(name: str, llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    data = write_data(tmp_path / "train.jsonl")
    preset = load_preset(name, [f"data.train={data}", f"model.name={llama}", *TINY])
    result = run_training(preset, tmp_path / "out")
    assert result.facts["base"] == "internlm2-tiny"
    assert result.facts["sequences"] < 12, "12 groups of two questions are packed"
    assert result.facts["examples"] == 24
    config = json.loads((result.adapter / "adapter_config.json").read_text(encoding="utf-8"))
    assert config["base_model_name_or_path"] == "internlm2-tiny"
    saved = yaml.safe_load((result.adapter / "training.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["bits"] == 4
    assert "bitsandbytes" in result.facts["versions"]


@pytest.mark.parametrize("form", ["folder", "file", "lines", "examples"])
def test_incremental_pre_training_takes_plain_text(form: str, llama: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    text = "\n".join(TEXTS) * 3
    source = tmp_path / "texts"
    if form == "folder":
        source.mkdir()
        (source / "a.txt").write_text(text, encoding="utf-8")
        (source / "b.md").write_text(text, encoding="utf-8")
    elif form == "file":
        source = source.with_suffix(".txt")
        source.write_text(text, encoding="utf-8")
    else:
        source = source.with_suffix(".jsonl")
        record: dict[str, Any] = {"text": text}
        if form == "examples":
            record = {"kind": "text", "messages": [{"role": "user", "content": ""}], "answer": text}
        source.write_text(json.dumps(record, ensure_ascii=False) + "\n", encoding="utf-8")
    preset = load_preset("internlm2-7b-pretrain-qlora", [f"data.train={source}", f"model.name={llama}", *TINY])
    result = run_training(preset, tmp_path / "out")
    assert result.facts["examples"] == (2 if form == "folder" else 1)
    assert result.facts["left_out"] == 0
    assert result.loss < 10


def test_a_folder_without_any_text(llama: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    preset = load_preset(
        "internlm2-7b-pretrain-qlora",
        [f"data.train={tmp_path / 'empty'}", f"model.name={llama}", *TINY, "model.bits=16"],
    )
    with pytest.raises(Exception, match=r"holds neither train\.jsonl nor text files"):
        run_training(preset, tmp_path / "out")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.bits=8", "model.bits must be 4 or 16, not '8'"),
        ("train.optimizer=sgd", "train.optimizer must be auto, adamw or paged_adamw_8bit"),
        ("lora.dropout=1.5", "lora.dropout must be from 0"),
        ("train.batch_tokens=0", "train.batch_tokens must be above 0"),
    ],
)
def test_values_that_cannot_be_meant(override: str, message: str) -> None:
    with pytest.raises(PresetError, match=re.escape(message)):
        load_preset("embedded", [override])
