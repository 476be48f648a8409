"""Many answers at once: each as it would be alone, with its own sampling, its own end, and its own leaving."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from elysia_chat.llm.answer_engine import Ended, Piece
from elysia_chat.llm.errors import ModelError, PromptTooLongError
from elysia_chat.llm.gpu.batching_engine import BatchingEngine
from elysia_chat.llm.sampling import Sampling
from tests.llm import tiny

PARALLEL = 4


def ids(text: str) -> list[int]:
    return tiny.tokenizer()(text, add_special_tokens=False).input_ids


LONG = ids("The Elysian Realm lies beyond the sea of stars, and 爱莉希雅 waits there for you. " * 3)


@pytest.fixture(scope="module")
def engine() -> Iterator[BatchingEngine]:
    made = BatchingEngine(tiny.model(), tiny.tokenizer(), PARALLEL, prompt_tokens=60)
    yield made
    made.close()


def answer(engine: object, prompt: list[int], sampling: Sampling) -> tuple[str, Ended]:
    """Return an answer without the signs for bytes of a last character that is never ended.

    How many there are depends on how many tokens come together.
    """
    *texts, ended = engine.answer([prompt], sampling)  # type: ignore[attr-defined]
    assert isinstance(ended, Ended)
    return "".join(piece.text for piece in texts if isinstance(piece, Piece)).rstrip("\ufffd"), ended


def test_answers_written_together_are_those_written_alone(engine: BatchingEngine):
    penalties = (1.0, 1.05, 1.5)
    jobs = [
        (LONG[: 3 + 11 * number], Sampling(max_new_tokens=8 + number, repetition_penalty=penalties[number % 3]))
        for number in range(12)
    ]
    with ThreadPoolExecutor(PARALLEL) as callers:
        together = list(callers.map(lambda job: answer(engine, *job), jobs))
    alone = tiny.engine(prefix_tokens=0)
    for job, (text, ended) in zip(jobs, together, strict=True):
        assert (text, ended.answer_tokens) == (answer(alone, *job)[0], job[1].max_new_tokens)
        assert (ended.prompt_tokens, ended.finish_reason) == (len(job[0]), "length")


def test_a_seed_gives_the_same_answer_whatever_else_is_written(engine: BatchingEngine):
    warm = Sampling(max_new_tokens=24, temperature=1.5, seed=7)
    first, _ = answer(engine, LONG, warm)
    others = [Sampling(max_new_tokens=24, temperature=2.0) for _ in range(3)]
    with ThreadPoolExecutor(PARALLEL) as callers:
        again, *different = callers.map(lambda sampling: answer(engine, LONG, sampling)[0], [warm, *others])
    assert again == first
    assert len({first, *different}) == 4
    assert answer(engine, LONG, Sampling(max_new_tokens=24, temperature=1.5, seed=8))[0] != first


@pytest.mark.parametrize("only", [{"top_k": 1}, {"top_p": 1e-6}])
def test_the_narrowest_choice_is_greedy(engine: BatchingEngine, only: dict[str, float]):
    narrow = Sampling(max_new_tokens=16, temperature=2.0, repetition_penalty=1.0, **only)  # type: ignore[arg-type]
    greedy = Sampling(max_new_tokens=16, repetition_penalty=1.0)
    assert answer(engine, LONG, narrow)[0] == answer(engine, LONG, greedy)[0]


def test_stop_strings_and_end_tokens_end_an_answer():
    model = tiny.model()
    plain = Sampling(max_new_tokens=24, repetition_penalty=1.0)
    text, _ = answer(tiny.Engine(model, tiny.tokenizer()), LONG, plain)
    model.generation_config.eos_token_id = [1, ids(text)[9]]
    engine = BatchingEngine(model, tiny.tokenizer(), 2)
    cut, ended = answer(engine, LONG, plain)
    assert (cut, ended.finish_reason) == (text[: text.index(text[9])], "stop")
    stopped, ended = answer(engine, LONG, Sampling(max_new_tokens=24, repetition_penalty=1.0, stop=(text[1:3],)))
    assert (stopped, ended.finish_reason) == (text[: text.index(text[1:3])], "stop")
    engine.close()


def test_who_leaves_is_taken_out_of_the_batches(engine: BatchingEngine):
    plain = Sampling(max_new_tokens=400)
    left = threading.Event()
    stream = engine.answer([LONG[:40]], plain, left.is_set)
    next(stream)
    left.set()
    assert not any(isinstance(piece, Ended) for piece in stream)
    closed = engine.answer([LONG[:40]], plain)
    next(closed)
    closed.close()
    scheduler = engine._manager.batch_processor.scheduler
    deadline = time.monotonic() + 10
    while scheduler.has_pending_requests() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not scheduler.has_pending_requests()
    assert not engine._boxes


def test_the_context_limits_prompt_and_answer(engine: BatchingEngine):
    assert engine.context_tokens == tiny.CONTEXT
    small = BatchingEngine(tiny.model(), tiny.tokenizer(), 2, context_tokens=60)
    assert answer(small, LONG[:50], Sampling(max_new_tokens=24))[1].answer_tokens == 10
    with pytest.raises(PromptTooLongError):
        answer(small, LONG[:60], Sampling())
    small.close()


def test_broken_weights_are_told():
    model = tiny.model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    engine = BatchingEngine(model, tiny.tokenizer(), 2)
    with pytest.raises(ModelError, match=r"NaN"):
        answer(engine, LONG, Sampling(max_new_tokens=4))
    engine.close()


def test_batches_that_have_broken_down_are_told_to_all():
    model = tiny.model()
    engine = BatchingEngine(model, tiny.tokenizer(), 2)
    del model.model.layers[0].mlp.down_proj.weight
    with pytest.raises(ModelError, match="cannot go on"):
        answer(engine, LONG, Sampling(max_new_tokens=4))
    engine._reader.join()
    with pytest.raises(ModelError, match="start the program again"):
        answer(engine, LONG, Sampling(max_new_tokens=4))
    engine.close()


def test_rope_that_changes_with_the_length_stays_below_its_change():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny.tokenizer()), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, eos_token_id=1, initializer_range=0.5,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    expected = answer(tiny.Engine(model, tiny.tokenizer()), LONG[:90], Sampling(max_new_tokens=20))[0]
    engine = BatchingEngine(model, tiny.tokenizer(), 2)
    assert engine.context_tokens == 128
    assert answer(engine, LONG[:90], Sampling(max_new_tokens=20))[0] == expected
    engine.close()
    assert model.model.rotary_emb.rope_type == "dynamic"
