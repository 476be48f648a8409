"""Which engine is taken where."""

import logging
from typing import Any

import pytest
import torch

from elysia_chat.llm.engine import Engine
from elysia_chat.llm.engines import choose_engine
from elysia_chat.llm.errors import ModelError
from elysia_chat.llm.gpu import batching_engine, static_engine

from . import tiny


@pytest.fixture
def on_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model that says that it is on a GPU."""
    model = tiny.model()
    monkeypatch.setattr(type(model), "device", torch.device("cuda", 0))
    return model


class Taken:
    """Stands for an engine, and keeps what it was made with."""

    def __init__(self, *given: Any) -> None:
        self.given = given


def failing(error: Exception) -> Any:
    def make(*_given: Any) -> None:
        raise error

    return make


@pytest.mark.parametrize("parallel", [1, 8])
def test_on_a_cpu_answers_are_written_one_by_one(parallel: int):
    engine = choose_engine(tiny.shared_model(), tiny.tokenizer(), 300, 99, parallel)
    assert isinstance(engine, Engine)
    assert (engine.context_tokens, engine.parallel) == (300, 1)


def test_on_a_gpu_one_answer_is_captured_and_several_are_batched(on_gpu: Any, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(static_engine, "StaticEngine", type("One", (Taken,), {}))
    monkeypatch.setattr(batching_engine, "BatchingEngine", type("Many", (Taken,), {}))
    one, many = (choose_engine(on_gpu, "tokenizer", 300, parallel=parallel) for parallel in (1, 8))
    assert (type(one).__name__, one.given[1:]) == ("One", ("tokenizer", 300))  # type: ignore[attr-defined]
    assert (type(many).__name__, many.given[1:]) == ("Many", ("tokenizer", 8, 300))  # type: ignore[attr-defined]


def test_what_cannot_be_captured_or_batched_is_computed_step_by_step(
    on_gpu: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(static_engine, "StaticEngine", failing(RuntimeError("operation not permitted in a capture")))
    monkeypatch.setattr(batching_engine, "BatchingEngine", failing(ModelError("no batches")))
    with caplog.at_level(logging.WARNING, "elysia_chat"):
        assert isinstance(choose_engine(on_gpu, tiny.tokenizer(), parallel=8), Engine)
    assert [record.getMessage() for record in caplog.records] == [
        "The model cannot be batched, so its answers are written one after the other: no batches",
        "The model cannot be captured as a CUDA graph, so its answers are slower: operation not permitted in a capture",
    ]


def test_a_model_on_several_gpus_is_computed_step_by_step(on_gpu: Any):
    on_gpu.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    assert isinstance(choose_engine(on_gpu, tiny.tokenizer(), parallel=8), Engine)


def test_a_model_with_recurrent_layers_is_computed_step_by_step(monkeypatch: pytest.MonkeyPatch):
    from transformers import JambaConfig, JambaForCausalLM

    config = JambaConfig(
        vocab_size=len(tiny.tokenizer()), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=1, attn_layer_period=2, attn_layer_offset=1, num_experts=2,
        mamba_d_state=4, mamba_dt_rank=4, use_mamba_kernels=False,
    )  # fmt: skip
    model = JambaForCausalLM(config)
    monkeypatch.setattr(type(model), "device", torch.device("cuda", 0))
    assert isinstance(choose_engine(model, tiny.tokenizer()), Engine)
