"""Checkpoints: exact resumption, their limit, and a disk that fills up."""

import errno
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from elysia_chat.training.checkpoints import is_whole, newest_checkpoint
from elysia_chat.training.errors import CheckpointError
from elysia_chat.training.presets import Preset, load_preset
from elysia_chat.training.run import run_training
from tests.training.test_run import write_data
from tests.training.tiny_models import save_model, tiny_llama

SETTINGS = [
    "train.device=cpu", "train.log_steps=1", "model.dtype=float32", "lora.r=4", "lora.dropout=0.2", "model.family=",
    "train.batch_tokens=400", "train.accumulation=2", "train.max_steps=6", "train.save_steps=2", "train.save_limit=5",
]  # fmt: skip


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tiny_llama(), tmp_path / "base")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_data(tmp_path / "train.jsonl", 24)


def preset(data: Path, *overrides: str) -> Preset:
    return load_preset("embedded", [f"data.train={data}", *SETTINGS, *overrides])


def weights(adapter: Path) -> dict[str, torch.Tensor]:
    return load_file(str(adapter / "adapter_model.safetensors"))


@pytest.mark.parametrize("four_bits", [False, True])
def test_a_resumed_run_is_the_unbroken_one_bit_for_bit(four_bits: bool, base: Path, data: Path, tmp_path: Path) -> None:
    """Dropout draws from the generator, accumulation and packing move the place in the data: all have to come back."""
    own = ["data.packing=true", "data.max_tokens=400", f"data.test={data}", *(["model.bits=4"] if four_bits else [])]
    whole = run_training(preset(data, *own), tmp_path / "whole", base=base)
    broken = tmp_path / "broken"
    run_training(preset(data, *own), broken, base=base)
    for path in (broken / "checkpoint-6", broken / "checkpoint-4"):
        (path / "optimizer.pt").write_bytes((path / "optimizer.pt").read_bytes()[:1000])
    assert newest_checkpoint(broken) == broken / "checkpoint-2"
    resumed = run_training(preset(data, *own), broken, resume=True, base=base)
    assert resumed.steps == 6
    one, two = weights(whole.adapter), weights(resumed.adapter)
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert whole.facts["held_out_loss"] == resumed.facts["held_out_loss"]
    histories = [
        json.loads((folder / "checkpoint-6" / "trainer_state.json").read_text())["log_history"]
        for folder in (tmp_path / "whole", broken)
    ]
    losses = [[entry["loss"] for entry in history if "loss" in entry] for history in histories]
    assert losses[0] == losses[1]
    assert len(losses[0]) == 6


def test_only_so_many_checkpoints_are_kept(base: Path, data: Path, tmp_path: Path) -> None:
    run_training(preset(data, "train.save_steps=1", "train.save_limit=2"), tmp_path / "out", base=base)
    kept = sorted(path.name for path in (tmp_path / "out").glob("checkpoint-*"))
    assert kept == ["checkpoint-5", "checkpoint-6"]
    assert all(is_whole(tmp_path / "out" / name) for name in kept)
    assert not list((tmp_path / "out").rglob("training_args.bin")), "a pickle"
    assert not list((tmp_path / "out").glob(".*")), "what is written on the way is removed"


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), RuntimeError("PytorchStreamWriter failed writing file")]
)
def test_a_disk_that_fills_up_leaves_finished_checkpoints_alone(
    error: Exception, base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, save = tmp_path / "out", torch.save
    whole = run_training(preset(data), tmp_path / "whole", base=base)

    def full(what: Any, file: Any, *rest: Any, **options: Any) -> None:
        if (out / "checkpoint-2").is_dir() and "optimizer" in str(file):
            Path(file).write_bytes(b"half")
            raise error
        save(what, file, *rest, **options)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(CheckpointError, match=r"checkpoint of step 4 .* disk is full.*--resume"):
        run_training(preset(data), out, base=base)
    monkeypatch.setattr(torch, "save", save)
    assert [path.name for path in out.glob("*checkpoint*")] == ["checkpoint-2"]
    assert is_whole(out / "checkpoint-2")
    resumed = run_training(preset(data), out, resume=True, base=base)
    one, two = weights(whole.adapter), weights(resumed.adapter)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_an_error_of_another_kind_is_not_called_a_full_disk(
    base: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        msg = "something else"
        raise RuntimeError(msg)

    monkeypatch.setattr(torch, "save", broken)
    with pytest.raises(RuntimeError, match="something else"):
        run_training(preset(data), tmp_path / "out", base=base)


@pytest.mark.parametrize("name", ["trainer_state.json", "adapter_model.safetensors", "optimizer.pt", "scheduler.pt"])
def test_a_checkpoint_cut_short_is_passed_over(name: str, base: Path, data: Path, tmp_path: Path) -> None:
    run_training(preset(data, "train.max_steps=4"), tmp_path / "out", base=base)
    file = tmp_path / "out" / "checkpoint-4" / name
    file.write_bytes(file.read_bytes()[:-20])
    assert newest_checkpoint(tmp_path / "out") == tmp_path / "out" / "checkpoint-2"


def test_a_run_goes_on_as_it_began(base: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run_training(preset(data, "train.max_steps=2"), out, base=base)
    with pytest.raises(CheckpointError, match="earlier run: go on with --resume"):
        run_training(preset(data), out, base=base)
    with pytest.raises(CheckpointError, match=r"began with train\.max_steps=2, not 6"):
        run_training(preset(data), out, resume=True, base=base)
    write_data(data, 25)
    with pytest.raises(CheckpointError, match="began with other data"):
        run_training(preset(data, "train.max_steps=2"), out, resume=True, base=base)


SCRIPT = (
    "import sys; from pathlib import Path\n"
    "from elysia_chat.training.presets import load_preset\n"
    "from elysia_chat.training.run import run_training\n"
    "resume = sys.argv[1] == 'resume'\n"
    "run_training(load_preset('embedded', sys.argv[4:]), Path(sys.argv[2]), base=Path(sys.argv[3]), resume=resume)\n"
)


def on_two_processes(out: Path, base: Path, settings: list[str], how: str = "begin") -> dict[str, torch.Tensor]:
    script = out.with_suffix(".py")
    script.write_text(SCRIPT, encoding="utf-8")
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    words = [*launch, str(script), how, str(out), str(base), *settings]
    subprocess.run(words, check=True, timeout=400, env={**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"})
    return weights(out / "adapter")


@pytest.mark.slow
@pytest.mark.parametrize("split", ["", "zero2", "zero3"])
def test_two_processes_learn_what_one_does(split: str, base: Path, data: Path, tmp_path: Path) -> None:
    """The same batches, two at a time on two processes or one after the other on one, give the same adapter."""
    if split and importlib.util.find_spec("deepspeed") is None:
        pytest.skip("deepspeed is not installed")
    common = ["lora.dropout=0", "train.max_steps=4", "train.save_steps=2"]
    held_out = write_data(tmp_path / "test.jsonl", 3)
    common.append(f"data.test={held_out}")
    first = run_training(preset(data, *common), tmp_path / "one", base=base)
    one = weights(first.adapter)
    settings = [f"data.train={data}", *SETTINGS, *common, "train.accumulation=1", f"train.deepspeed={split}"]
    out = tmp_path / "two"
    two = on_two_processes(out, base, settings)
    facts = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert (facts["processes"], facts["steps"]) == (2, 4)
    assert facts["held_out_loss"] == pytest.approx(first.facts["held_out_loss"], abs=1e-3)
    for name, value in one.items():
        assert torch.allclose(value.float(), two[name].float(), atol=2e-3), name
    shutil.rmtree(out / "checkpoint-4")
    resumed = on_two_processes(out, base, settings, "resume")
    for name, value in two.items():
        assert torch.equal(value, resumed[name]), name
