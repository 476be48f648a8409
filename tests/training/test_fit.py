"""What does not fit is said before the first step: model, memory, disk, processes."""

import json
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, LlamaConfig

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.llm.errors import AdapterError
from elysia_chat.training import fit
from elysia_chat.training.distributed import deepspeed_settings
from elysia_chat.training.errors import PresetError
from elysia_chat.training.presets import load_preset
from elysia_chat.training.run import run_training
from tests.training.test_run import write_data
from tests.training.tiny_models import save_adapter, save_model, tiny_gemma, tiny_llama

QLORA = "internlm2-chat-7b-qlora"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "train.jsonl")


@pytest.fixture
def llama(tmp_path: Path) -> Path:
    return save_model(tiny_llama(), tmp_path / "llama")


def run(data: Path, out: Path, preset: str, *overrides: str) -> None:
    run_training(load_preset(preset, [f"data.train={data}", *overrides]), out)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_four_bits_without_a_gpu(llama: Path, data: Path, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"4-bit weights.*none is found.*train\.device=cpu"):
        run(data, tmp_path / "out", QLORA, f"model.name={llama}")
    with pytest.raises(PresetError, match="paged_adamw_8bit needs a GPU"):
        run(
            data, tmp_path / "out", QLORA, f"model.name={llama}", "train.device=cpu", "train.optimizer=paged_adamw_8bit"
        )


def test_a_preset_for_another_family(data: Path, tmp_path: Path) -> None:
    gemma = save_model(tiny_gemma(), tmp_path / "gemma")
    with pytest.raises(PresetError, match=r"made for the family llama, and .*gemma is gemma3_text"):
        run(data, tmp_path / "out", QLORA, f"model.name={gemma}", "train.device=cpu")


def test_internlm2_as_it_was_published_has_to_be_converted(data: Path, tmp_path: Path) -> None:
    folder = tmp_path / "internlm2"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "internlm2"}), encoding="utf-8")
    with pytest.raises(PresetError, match="convert it first"):
        run(data, tmp_path / "out", QLORA, f"model.name={folder}", "train.device=cpu")


def test_a_model_that_is_not_here_is_looked_for_nowhere_else(data: Path, tmp_path: Path) -> None:
    with pytest.raises(PresetError, match=r"no model to train called 'internlm2-chat-7b'.*models add NAME"):
        run(data, tmp_path / "out", QLORA, "train.device=cpu")


def test_an_adapter_of_another_base(llama: Path, data: Path, tmp_path: Path) -> None:
    other = save_model(tiny_llama(), tmp_path / "other")
    start = save_adapter(other, tmp_path / "adapter")
    with pytest.raises(AdapterError, match="was trained on 'other', not on 'llama'"):
        run(data, tmp_path / "out", QLORA, f"model.name={llama}", "train.device=cpu", f"lora.start={start}")


def test_a_disk_too_full_for_the_checkpoints(
    llama: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage(10**9, 10**9, 10_000))
    with pytest.raises(PresetError, match=r"GB and the disk has 0\.0 GB free"):
        run(data, tmp_path / "out", QLORA, f"model.name={llama}", "train.device=cpu")


def seven_billion() -> torch.nn.Module:
    config = LlamaConfig(
        vocab_size=92544, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32,
        num_key_value_heads=8,
    )  # fmt: skip
    with torch.device("meta"):
        return AutoModelForCausalLM.from_config(config)


@pytest.mark.parametrize(
    ("overrides", "measured"),
    [
        # Measured on an H200: 1 x 1,024 and 1 x 2,048 tokens, GiB in all, with bitsandbytes' paged AdamW and without.
        (["data.max_tokens=1024", "train.batch_tokens=1024"], 6.86),
        ([], 8.12),
        (["train.optimizer=adamw", "data.max_tokens=1024", "train.batch_tokens=1024"], 8.04),
    ],
)
def test_the_estimate_is_near_what_was_measured(overrides: list[str], measured: float) -> None:
    found = fit.estimate(seven_billion(), load_preset(QLORA, overrides)).total / 2**30
    # The figures are of the plain loss, which holds the logits of all positions; ours is below them.
    assert 0.8 * measured < found < measured


def test_too_little_memory_names_what_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit, "_free_memory", lambda _device: 4 * 10**9)
    model, cuda = seven_billion(), torch.device("cuda")
    with pytest.raises(PresetError, match=r"needs about .* GB of GPU memory .* and 4\.0 GB are free: try a smaller"):
        fit.check_memory(model, load_preset(QLORA), cuda)
    with pytest.raises(PresetError, match=r"train\.gradient_checkpointing=true.*model\.bits=4"):
        fit.check_memory(model, load_preset("embedded"), cuda)
    monkeypatch.setattr(fit, "_free_memory", lambda _device: 80 * 10**9)
    fit.check_memory(model, load_preset(QLORA), cuda)
    fit.check_memory(model, load_preset(QLORA), torch.device("cpu"))


def test_the_adapter_is_counted_as_peft_makes_it(llama: Path) -> None:
    from peft import LoraConfig, get_peft_model

    preset = load_preset(QLORA, ["lora.r=4"])
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(llama))
    counted = fit.trained_parameters(model, preset)
    tuned = get_peft_model(model, LoraConfig(r=4, target_modules=list(preset.lora.targets), task_type="CAUSAL_LM"))
    assert counted == sum(parameter.numel() for parameter in tuned.parameters() if parameter.requires_grad)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.deepspeed=zero3"], "ZeRO-3 does not split 4-bit weights"),
        (["train.deepspeed=zero3", "model.bits=16", "evaluate.prompts=p.jsonl"], "evaluate the result instead"),
        (["train.deepspeed=zero9"], "must be zero2, zero3 or a JSON file"),
        (["train.deepspeed=zero2"], "pip install deepspeed"),
    ],
)
def test_deepspeed_that_cannot_be_used(overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "deepspeed" else found(name, *rest)
    )
    with pytest.raises(PresetError, match=message):
        deepspeed_settings(load_preset(QLORA, overrides))


@pytest.mark.parametrize("name", ["zero2", "zero3"])
def test_the_settings_of_deepspeed_are_read(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda *_: object())
    settings = deepspeed_settings(load_preset("embedded", [f"train.deepspeed={name}"]))
    assert settings is not None
    assert settings["zero_optimization"]["stage"] == int(name[-1])


def test_a_model_folder_that_is_cut_short(llama: Path, data: Path, tmp_path: Path) -> None:
    (llama / "model.safetensors").write_bytes(b"cut")
    with pytest.raises(ElysiaChatError, match="missing, cut off or damaged"):
        run(data, tmp_path / "out", QLORA, f"model.name={llama}", "train.device=cpu")
