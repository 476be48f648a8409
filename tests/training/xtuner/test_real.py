"""The real XTuner on a CPU, end to end: what it trained is what the chat computes with."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from elysia_chat.llm.internlm2.convert import convert_model
from elysia_chat.llm.loading import load_model
from elysia_chat.training.adapters import attach, load_base
from elysia_chat.training.merge import merge as merge_adapter
from elysia_chat.training.xtuner import commands, environment
from elysia_chat.training.xtuner.errors import XtunerError
from elysia_chat.training.xtuner.run_folder import history
from elysia_chat.training.xtuner.tools import launcher
from tests.training.tiny_models import TEXTS, save_model, tiny_llama
from tests.training.xtuner.tiny_internlm2 import save_internlm2

REAL = environment.home()
READY = environment.find_environment().state == "ready"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not READY, reason="XTuner's environment is not there: elysia-chat train xtuner setup"),
]
PRESET = "internlm2-chat-1.8b-qlora"
TINY = ["lora.r=8", "train.epochs=2", "train.accumulation=2", "data.max_tokens=64", "train.batch_tokens=64",
        "train.log_steps=1", "train.learning_rate=2e-2", "train.save_steps=50",
        "evaluate.max_new_tokens=8"]  # fmt: skip
# The logits of XTuner's own model with its own adapter, by its own libraries.
LOGITS = """
import runpy, sys
launch = runpy.run_path(sys.argv[1])
launch["prepare"](True)
import json, torch
from peft import PeftModel
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, BitsAndBytesConfig
base, adapter, ids, bits, out = sys.argv[2:]
four = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                          bnb_4bit_compute_dtype=torch.float32)
model = AutoModelForCausalLM.from_pretrained(base, torch_dtype=torch.float32, trust_remote_code=False,
                                             quantization_config=four if bits == "4" else None)
rows = torch.tensor(json.loads(ids))
with torch.no_grad():
    plain = model.eval()(rows).logits
    tuned = PeftModel.from_pretrained(model, adapter).eval()(rows).logits
save_file({"plain": plain, "tuned": tuned}, out)
"""


@pytest.fixture(autouse=True)
def real_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of the user's data folder; all else is of the test alone."""
    monkeypatch.setattr(environment, "home", lambda: REAL)


@pytest.fixture(scope="module", autouse=True)
def few_threads() -> Iterator[None]:
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = "2"
    yield
    os.environ.pop("OMP_NUM_THREADS")
    if before is not None:
        os.environ["OMP_NUM_THREADS"] = before


def write_examples(path: Path, count: int = 24) -> Path:
    system = {"role": "system", "content": "你是爱莉希雅。"}
    lines = [
        {"messages": [system, {"role": "user", "content": f"你是谁？{number}"}], "answer": TEXTS[number % len(TEXTS)]}
        for number in range(count)
    ]
    path.write_text("".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines), encoding="utf-8")
    return path


def rows(base: Path) -> list[list[int]]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    return [(tokenizer(text)["input_ids"] * 9)[:40] for text in TEXTS[:3]]


def xtuner_logits(run: Path, ids: list[list[int]], bits: int, tmp_path: Path) -> dict[str, torch.Tensor]:
    python = environment.ready_environment().python
    out = tmp_path / "logits.safetensors"
    words = [python, "-P", "-c", LOGITS, launcher(), "base", "adapter-xtuner", json.dumps(ids), str(bits), out]
    done = subprocess.run(list(map(str, words)), cwd=run, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return load_file(out)


def logits(model: Any, ids: list[list[int]]) -> torch.Tensor:
    with torch.no_grad():
        return model(torch.tensor(ids)).logits.float()


def relative(found: torch.Tensor, wanted: torch.Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_internlm2(tmp_path_factory.mktemp("published") / "tiny-internlm2")


@pytest.fixture(scope="module")
def trained(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on InternLM2 as it was published: written, checked, trained, converted."""
    folder = tmp_path_factory.mktemp("runs")
    data = write_examples(folder / "data.jsonl")
    changes = [f"model.name={published}", f"data.train={data}", "model.bits=16", *TINY]
    record = commands.write_config(PRESET, changes, folder / "run")
    assert (record.internlm2, record.records) == (True, 24)
    said: list[str] = []
    commands.check(folder / "run", said.append)
    assert any("<|im_start|>system\\n你是爱莉希雅。<|im_end|>" in line for line in said)
    told: list[tuple[int, int, float | None]] = []
    made = commands.train(folder / "run", progress=lambda *step: told.append(step))
    assert made.facts["iterations"] == told[-1][0] == told[-1][1]
    losses = [entry["loss"] for entry in history(folder / "run")]
    assert sum(losses[-4:]) < 0.9 * sum(losses[:4])
    commands.convert(folder / "run")
    return folder / "run"


def test_what_internlm2_learned_is_what_the_chat_computes(published: Path, trained: Path, tmp_path: Path) -> None:
    converted = tmp_path / published.name
    converted.mkdir()
    convert_model(published, converted)
    ids = rows(converted)
    wanted = xtuner_logits(trained, ids, 16, tmp_path)
    assert relative(wanted["tuned"], wanted["plain"]) > 0.05
    model, _ = load_base(str(converted), dtype="float32", device="cpu")
    assert relative(logits(model, ids), wanted["plain"]) < 1e-5
    unmerged = attach(trained / "adapter", model)
    assert relative(logits(unmerged, ids), wanted["tuned"]) < 1e-5
    in_the_chat, _ = load_model(str(converted), trained / "adapter", "float32", "cpu")
    assert relative(logits(in_the_chat, ids), wanted["tuned"]) < 1e-5
    report = merge_adapter(trained / "adapter", tmp_path / "ours", base=str(converted), dtype="float32", device="cpu")
    assert report.difference.mean_kl < 1e-6
    assert relative(logits(load_model(str(tmp_path / "ours"), None, "float32", "cpu")[0], ids), wanted["tuned"]) < 1e-5
    commands.merge(trained, tmp_path / "theirs")
    theirs, tokenizer = load_model(str(tmp_path / "theirs"), None, "float32", "cpu")
    # XTuner's merge is in half precision.
    assert relative(logits(theirs, ids), wanted["tuned"]) < 5e-3
    assert theirs.config.model_type == "llama"
    assert tokenizer.chat_template


def test_the_run_says_what_it_was(trained: Path) -> None:
    results = json.loads((trained / "adapter" / "results.json").read_text(encoding="utf-8"))
    assert (results["trainer"], results["base"], results["bits"]) == ("xtuner", "tiny-internlm2", 16)
    assert results["iterations"] > 0
    assert (trained / "adapter" / "loss.png").stat().st_size > 1000
    assert str(trained.parent) not in (trained / "adapter" / "training.yaml").read_text(encoding="utf-8")
    # Whoever trains again has to say that it goes on.
    with pytest.raises(XtunerError, match="go on with --resume"):
        commands.train(trained)
    with pytest.raises(XtunerError, match="holds a trained run"):
        commands.write_config(PRESET, ["data.train=x", f"model.name={trained / 'base'}"], trained, overwrite=True)


def test_no_code_came_with_the_model(trained: Path) -> None:
    """The published folder's code ends every program that runs it."""
    assert not list((trained / "base").glob("*.py"))
    assert "auto_map" not in (trained / "base" / "config.json").read_text(encoding="utf-8")
    assert "remote code was run" not in "".join(path.read_text("utf-8") for path in (trained / "logs").iterdir())


def test_qlora_on_a_converted_model_resumed(tmp_path: Path) -> None:
    base = save_model(
        tiny_llama(rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}), tmp_path / "tiny-llama"
    )
    data = write_examples(tmp_path / "data.jsonl")
    run = tmp_path / "run"
    commands.write_config(PRESET, [f"model.name={base}", f"data.train={data}", *TINY], run)
    first = commands.train(run, options=["train_cfg.max_epochs=1"])
    second = commands.train(run, resume=True)
    assert second.facts["iterations"] == 2 * first.facts["iterations"]
    commands.convert(run)
    ids = rows(base)
    wanted = xtuner_logits(run, ids, 4, tmp_path)
    model, _ = load_base(str(base), bits=4, dtype="float32", device="cpu")
    assert relative(logits(attach(run / "adapter", model), ids), wanted["tuned"]) < 1e-4
    report = merge_adapter(run / "adapter", tmp_path / "merged", base=str(base), dtype="float32", device="cpu")
    assert (report.trained_bits, report.into) == (4, "dequantised")
    assert report.difference.mean_kl < 1e-5
    commands.merge(run, tmp_path / "theirs")
    assert load_model(str(tmp_path / "theirs"), None, "float32", "cpu")[0].config.rope_parameters["rope_theta"] == 1e6


@pytest.mark.parametrize(("zero", "processes"), [("zero2", "2"), ("zero3", "1")])
def test_deepspeed(published: Path, tmp_path: Path, zero: str, processes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_examples(tmp_path / "data.jsonl")
    run = tmp_path / "run"
    commands.write_config(PRESET, [f"model.name={published}", f"data.train={data}", "model.bits=16", *TINY], run)
    monkeypatch.setenv("NPROC_PER_NODE", processes)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    made = commands.train(run, deepspeed=zero)
    assert made.checkpoint.is_dir()
    monkeypatch.delenv("NPROC_PER_NODE")
    adapter = commands.convert(run)
    assert load_file(adapter / "adapter_model.safetensors")


@pytest.mark.parametrize(
    ("form", "content"),
    [
        (
            "openai",
            [{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "an answer"}]}] * 30,
        ),
        ("alpaca", [{"instruction": "do", "output": "it is done"}] * 30),
        ("pretrain", [{"text": text} for text in TEXTS]),
    ],
)
def test_data_of_each_form_is_what_xtuner_takes(published: Path, tmp_path: Path, form: str, content: Any) -> None:
    data = tmp_path / "data.json"
    data.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    changes = [f"model.name={published}", f"data.train={data}", f"xtuner.format={form}", *TINY]
    commands.write_config(PRESET, changes, tmp_path / "run")
    said: list[str] = []
    commands.check(tmp_path / "run", said.append)
    answers = {"openai": "an answer<|im_end|>", "alpaca": "it is done<|im_end|>", "pretrain": TEXTS[0][:5]}
    assert any(answers[form] in line or form == "pretrain" for line in said)
