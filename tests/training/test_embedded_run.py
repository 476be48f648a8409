"""A short run of the embedded model's preset on the CPU, with its real weights."""

from pathlib import Path

import pytest

from elysia_chat.llm.adapter import check_adapter
from elysia_chat.training.adapters import empty_model
from elysia_chat.training.presets import load_preset
from elysia_chat.training.run import run_training
from tests.training.test_run import write_data


@pytest.mark.weights
@pytest.mark.slow
def test_the_embedded_model_learns_on_a_cpu(tmp_path: Path) -> None:
    data = write_data(tmp_path / "train.jsonl", 4)
    small = ["data.max_tokens=256", "train.batch_tokens=600", "train.max_steps=4", "train.save_steps=4"]
    result = run_training(load_preset("embedded-cpu", [f"data.train={data}", *small]), tmp_path / "out")
    assert result.facts["base"] == "gemma-3-270m"
    state = (tmp_path / "out" / "checkpoint-4" / "trainer_state.json").read_text(encoding="utf-8")
    assert result.steps == 4
    assert state.count('"loss"') == 4
    check_adapter(result.adapter, empty_model("gemma-3-270m"), "gemma-3-270m")
    losses = [float(line.split(":")[1].strip(" ,")) for line in state.splitlines() if '"loss"' in line]
    assert losses[-1] < losses[0], losses
