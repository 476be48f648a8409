"""The model in this process: what the contract of all models cannot see."""

import asyncio
import gc
import threading
import time
import weakref
from pathlib import Path

import pytest
import torch
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage

from elysia_chat.llm.engine import Engine
from elysia_chat.llm.errors import PromptTooLongError
from elysia_chat.llm.int8_decoding import Int8Linear
from elysia_chat.llm.sampling import Sampler
from elysia_chat.llm.transformers_chat import TransformersChatModel

from . import tiny


class Forwards:
    """Counts the forward calls of a model, and can slow them."""

    def __init__(self, model: torch.nn.Module, delay_s: float = 0.0) -> None:
        self.count = 0
        self.threads: set[str] = set()
        self.delay_s = delay_s
        model.register_forward_pre_hook(self._hook)

    def _hook(self, _module: torch.nn.Module, _args: object) -> None:
        self.count += 1
        self.threads.add(threading.current_thread().name)
        time.sleep(self.delay_s)


@pytest.fixture
def watched() -> tuple[TransformersChatModel, Forwards]:
    model = tiny.model()
    forwards = Forwards(model, 0.005)
    engine = Engine(model, tiny.tokenizer(), chunk_tokens=8)
    return TransformersChatModel(engine=engine, model_name="tiny", max_new_tokens=200), forwards


def test_one_forward_for_each_block_and_each_further_token(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched
    usage = model.invoke("hi", max_new_tokens=10).usage_metadata
    assert usage is not None
    assert forwards.count == -(-usage["input_tokens"] // 8) + 9


def test_closing_the_stream_stops_the_computation(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched
    stream = model.stream("hi")
    for _ in range(3):
        next(stream)
    stream.close()
    stopped_at = forwards.count
    time.sleep(0.2)
    assert forwards.count == stopped_at < 100


def test_leaving_an_asynchronous_stream_stops_the_computation(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched

    async def main() -> None:
        stream = model.astream("hi")
        async for _ in stream:
            break
        await stream.aclose()

    asyncio.run(main())
    # The loop closes LangChain's inner generators after the outer one, and a step may be under way by then.
    time.sleep(0.1)
    stopped_at = forwards.count
    time.sleep(0.2)
    assert forwards.count == stopped_at < 100


def test_a_long_prompt_can_be_left_before_its_first_token(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched
    forwards.delay_s, cancelled = 0.05, threading.Event()
    threading.Timer(0.2, cancelled.set).start()
    with pytest.raises(Exception, match="cancelled"):
        model.invoke("x" * 400, cancelled=cancelled)
    model.invoke("hi", max_new_tokens=1)
    assert forwards.count < 400 // 8


def test_one_thread_computes_whoever_asks(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched
    model.batch(["a", "b", "c"], max_new_tokens=2)
    asyncio.run(model.abatch(["a", "b"], max_new_tokens=2))
    assert len(forwards.threads) == 1


def test_a_model_that_nobody_holds_is_freed():
    """The thread that computes once held the model, and with it its weights, until the process ended."""
    made = tiny.model()
    weights = weakref.ref(made)
    TransformersChatModel(engine=Engine(made, tiny.tokenizer()), model_name="tiny").invoke("hi", max_new_tokens=2)
    del made
    gc.collect()
    assert weights() is None


def test_the_threads_setting_holds_in_the_thread_that_computes():
    seen: list[int] = []
    model = tiny.model()
    model.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    before = torch.get_num_threads()
    try:
        chat = TransformersChatModel(engine=Engine(model, tiny.tokenizer()), model_name="tiny", threads=3)
        chat.invoke("hi", max_new_tokens=1)
        assert set(seen) == {3}
    finally:
        torch.set_num_threads(before)


def test_every_sampling_field_can_be_given_per_call(watched: tuple[TransformersChatModel, Forwards]):
    model, _ = watched
    plain = model.invoke("hi", max_new_tokens=20).text
    warm = {"temperature": 3.0, "top_k": 0, "top_p": 1.0, "seed": 3, "max_new_tokens": 20}
    assert model.invoke("hi", **warm).text == model.invoke("hi", **warm).text != plain
    assert model.invoke("hi", repetition_penalty=3.0, max_new_tokens=20).text != plain
    assert model.invoke("hi", max_tokens=4).usage_metadata["output_tokens"] == 4  # type: ignore[index]


def test_the_answer_does_not_depend_on_what_was_asked_before(watched: tuple[TransformersChatModel, Forwards]):
    model, _ = watched
    fresh = TransformersChatModel(engine=tiny.engine(prefix_tokens=0), model_name="tiny", max_new_tokens=30)
    for question in ("the same beginning, then one", "the same beginning, then two", "the same beginning, then one"):
        answer = model.invoke(question, max_new_tokens=30)
        assert answer.text == fresh.invoke(question).text
    assert answer.usage_metadata["input_token_details"]["cache_read"] > 0  # type: ignore[index]


def test_a_conversation_reuses_persona_and_earlier_turns():
    persona = SystemMessage("You are Elysia, the pink fairy of the Elysian Realm.")
    turns = [persona, HumanMessage("Who are you?"), AIMessage("I am Elysia, of course! " * 12)]
    model = TransformersChatModel(engine=tiny.engine(), model_name="tiny", max_new_tokens=4)
    read = []
    for messages in ([persona, HumanMessage("Hi")], [*turns, HumanMessage("And?")], [*turns, HumanMessage("Why?")]):
        usage = model.invoke(messages).usage_metadata
        assert usage is not None
        read.append(usage["input_token_details"]["cache_read"])
    begun = len("model\n") + 1
    system, history = (model.get_num_tokens_from_messages(part) - begun for part in ([persona], turns))
    assert read == [0, system, history]


def test_a_prompt_longer_than_the_context_is_told(watched: tuple[TransformersChatModel, Forwards]):
    model, forwards = watched
    with pytest.raises(PromptTooLongError, match=r"context only 512"):
        model.invoke("x" * 600)
    with pytest.raises(PromptTooLongError):
        list(model.stream("x" * 600))
    assert forwards.count == 0


def test_counting_agrees_with_the_prompt(watched: tuple[TransformersChatModel, Forwards]):
    model, _ = watched
    messages = [HumanMessage("爱莉 <eos>")]
    assert model.count_tokens("爱莉 <eos>") == model.get_num_tokens("爱莉 <eos>") == 7 + len("< eos>")
    usage = model.invoke(messages, max_new_tokens=1).usage_metadata
    assert usage is not None
    assert model.get_num_tokens_from_messages(messages) == usage["input_tokens"]


def test_pieces_hold_whole_characters(monkeypatch: pytest.MonkeyPatch):
    said = tiny.tokenizer()("爱é♪😀a莉", add_special_tokens=False).input_ids
    monkeypatch.setattr(Sampler, "next_token", lambda _self, _logits, answer: said[len(answer)])
    model = TransformersChatModel(engine=tiny.engine(), model_name="tiny", max_new_tokens=len(said))
    assert [chunk.text for chunk in model.stream("hi") if chunk.text] == ["爱", "é", "♪", "😀", "a", "莉"]
    cut = model.invoke("hi", max_new_tokens=len(said) - 1)
    assert cut.text == "爱é♪😀a"


def test_a_folder_gives_the_same_answers(tmp_path: Path):
    folder = tiny.save(tmp_path / "tiny")
    model = TransformersChatModel.from_folder(folder, dtype="float32", device="cpu", max_new_tokens=20)
    expected = TransformersChatModel(engine=tiny.engine(), model_name="tiny", max_new_tokens=20)
    assert model.invoke("hi").text == expected.invoke("hi").text
    assert (model.model_name, model.context_tokens) == ("tiny", tiny.CONTEXT)
    assert TransformersChatModel.from_folder(folder, context_tokens=64).context_tokens == 64
    model.close()


def test_tokens_with_8_bit_weights(tmp_path: Path):
    folder = tiny.save(tmp_path / "tiny")
    model = TransformersChatModel.from_folder(folder, device="cpu", int8_decoding=True, max_new_tokens=20)
    assert any(isinstance(layer, Int8Linear) for layer in model.engine.model.modules())
    assert model.invoke("hi").text
    model.close()
