"""Fixed shapes against growing ones: the same answers, from memory that is cut, filled up, parked and taken back."""

from typing import Any

import pytest
import torch

from elysia_chat.llm.answer_engine import Ended, Piece
from elysia_chat.llm.errors import ModelError, PromptTooLongError
from elysia_chat.llm.gpu.static_engine import StaticEngine
from elysia_chat.llm.sampling import Sampling
from tests.llm import tiny

PLAIN = Sampling(max_new_tokens=24, repetition_penalty=1.0)
BLOCKS = ((), (8, 32))


def ids(text: str) -> list[int]:
    return tiny.tokenizer()(text, add_special_tokens=False).input_ids


LONG = ids("The Elysian Realm lies beyond the sea of stars, and 爱莉希雅 waits there for you. " * 3)


def static(model: Any = None, **changes: Any) -> StaticEngine:
    return StaticEngine(model or tiny.shared_model(), tiny.tokenizer(), **{"smallest_bound": 64, **changes})


def answer(engine: Any, prompt: list[int], sampling: Sampling = PLAIN) -> tuple[str, Ended]:
    *texts, ended = engine.answer([prompt], sampling)
    assert isinstance(ended, Ended)
    return "".join(piece.text for piece in texts if isinstance(piece, Piece)), ended


@pytest.mark.parametrize("blocks", BLOCKS)
@pytest.mark.parametrize(
    "sampling", [PLAIN, Sampling(max_new_tokens=24), Sampling(max_new_tokens=24, temperature=1.3, seed=4)]
)
def test_answers_are_those_of_the_engine_whose_memory_grows(blocks: tuple[int, ...], sampling: Sampling):
    fixed, growing = static(blocks=blocks), tiny.engine(prefix_tokens=0)
    for prompt in (LONG, LONG[:50], [*LONG, *ids(" And then?")], ids("Something else. " * 4), LONG[:3]):
        assert answer(fixed, prompt, sampling)[0] == answer(growing, prompt, sampling)[0]


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_conversation_goes_on_from_what_was_computed_for_it(blocks: tuple[int, ...]):
    engine = static(blocks=blocks)
    text, _ = answer(engine, LONG)
    second = [*LONG, *ids(text), *ids(" And then?")]
    told, ended = answer(engine, second)
    # The last token of an answer is said, but not computed.
    assert ended.reused_tokens == len(LONG) + 23
    assert told == answer(tiny.engine(prefix_tokens=0), second)[0]


def test_a_displaced_conversation_is_parked_and_taken_back():
    engine = static()
    first, other = LONG, ids("Quite another conversation. " * 8)
    text, _ = answer(engine, first)
    assert answer(engine, other)[1].reused_tokens == 0
    again = [*first, *ids(text), *ids(" Go on.")]
    told, ended = answer(engine, again)
    assert ended.reused_tokens == len(first) + 23
    assert told == answer(tiny.engine(prefix_tokens=0), again)[0]
    assert answer(engine, [*other, 9])[1].reused_tokens == len(other)


def test_no_more_is_parked_than_was_asked_for():
    engine = static(parked_tokens=300)
    for number in range(5):
        answer(engine, ids(f"{number} is the number of this one. " * 4))
        assert len(engine._parked) <= 300
    nothing = static(parked_tokens=0)
    answer(nothing, LONG)
    assert answer(nothing, ids("Another one. " * 9))[1].reused_tokens == 0
    assert answer(nothing, LONG)[1].reused_tokens == 0


@pytest.mark.parametrize("blocks", BLOCKS)
def test_a_text_can_fill_the_memory_to_its_last_place(blocks: tuple[int, ...]):
    engine = static(blocks=blocks, context_tokens=70)
    text, ended = answer(engine, LONG[:60])
    assert (ended.answer_tokens, ended.finish_reason) == (10, "length")
    assert text == answer(tiny.engine(context_tokens=70), LONG[:60])[0]
    assert answer(engine, LONG[:69])[1].answer_tokens == 1
    with pytest.raises(PromptTooLongError):
        answer(engine, LONG[:70])


def test_a_left_answer_leaves_a_memory_that_is_right():
    engine = static()
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > 9

    pieces = list(engine.answer([LONG], PLAIN, stopped))
    assert pieces
    assert not any(isinstance(piece, Ended) for piece in pieces)
    held = engine._held
    assert held[: len(LONG)] == LONG
    assert len(LONG) < len(held) < len(LONG) + 10
    text, ended = answer(engine, LONG)
    assert text == answer(tiny.engine(), LONG)[0]
    assert ended.reused_tokens == len(LONG) - 1
    stream = engine.answer([ids("Left in the middle. " * 5)], PLAIN)
    next(stream)
    stream.close()
    assert answer(engine, LONG)[0] == text


def test_rope_that_changes_with_the_length_is_fixed_below_its_change_and_left_to_the_other_engine_above():
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tiny.tokenizer()), hidden_size=16, intermediate_size=16, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=128, eos_token_id=1, initializer_range=0.5,
        rope_parameters={"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 2.0},
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    model.config.max_position_embeddings = 512
    model.config.rope_parameters["original_max_position_embeddings"] = 128
    fixed, growing = static(model), tiny.Engine(model, tiny.tokenizer(), prefix_tokens=0)
    assert (fixed.context_tokens, fixed._memory.capacity) == (512, 128)
    for length in (40, 100, 104, 105, 140, 40):
        assert answer(fixed, LONG[:length])[0] == answer(growing, LONG[:length])[0]
    assert model.model.rotary_emb.rope_type == "dynamic"


def test_broken_weights_are_told_and_the_next_model_is_not_harmed():
    model = tiny.model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    engine = static(model)
    with pytest.raises(ModelError, match=r"NaN.*model\.dtype=float32"):
        answer(engine, LONG)
    with torch.no_grad():
        model.model.norm.weight.fill_(0.0)
    assert answer(engine, LONG)[0] == answer(tiny.engine(), LONG)[0]


@pytest.mark.parametrize("blocks", BLOCKS)
def test_an_engine_checks_that_it_computes_what_the_model_computes(blocks: tuple[int, ...]):
    static(blocks=blocks).check()
    engine = static(blocks=blocks)
    forward = engine._steps.forward
    engine._steps.forward = lambda *given: -forward(*given)  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="other numbers here than the model itself"):
        engine.check()
