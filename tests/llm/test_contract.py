"""What every chat model of ours keeps: those in this process, the one behind a server, and the fake."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessageChunk, HumanMessage, SystemMessage
from pydantic import SecretStr

from elysia_chat.llm.errors import GenerationCancelledError
from elysia_chat.llm.gpu.batching_engine import BatchingEngine
from elysia_chat.llm.gpu.static_engine import StaticEngine
from elysia_chat.llm.llama_cpp import LlamaCppEngine
from elysia_chat.llm.llama_cpp_chat import LlamaCppChatModel
from elysia_chat.llm.remote import RemoteChatModel
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.llm.transformers_chat import TransformersChatModel

from . import openai_server, tiny

QUESTION = "Who are you, 爱莉希雅? Tell me all about the Elysian Realm, please♪"

Make = Callable[..., BaseChatModel]


@pytest.fixture(scope="module")
def server() -> Iterator[openai_server.ParrotServer]:
    with openai_server.parrot_server() as running:
        yield running


@pytest.fixture(scope="module")
def llama_cpp_engine(tmp_path_factory: pytest.TempPathFactory) -> LlamaCppEngine:
    return tiny.llama_cpp_engine(tmp_path_factory.mktemp("gguf"))


@pytest.fixture(scope="module")
def batching_engine() -> Iterator[BatchingEngine]:
    engine = BatchingEngine(tiny.model(), tiny.tokenizer(), 4)
    yield engine
    engine.close()


@pytest.fixture(params=["transformers", "static", "batching", "llama.cpp", "remote", "scripted"])
def make(request: pytest.FixtureRequest) -> Make:
    """Return what makes a model; its arguments are fields that all of them have."""
    if request.param == "transformers":
        return lambda **fields: TransformersChatModel(
            engine=tiny.engine(), model_name="tiny", **{"max_new_tokens": 40, **fields}
        )
    if request.param == "static":
        return lambda **fields: TransformersChatModel(
            engine=StaticEngine(tiny.shared_model(), tiny.tokenizer()),
            model_name="tiny",
            **{"max_new_tokens": 40, **fields},
        )
    if request.param == "batching":
        return lambda **fields: TransformersChatModel(
            engine=request.getfixturevalue("batching_engine"), model_name="tiny", **{"max_new_tokens": 40, **fields}
        )
    if request.param == "llama.cpp":
        return lambda **fields: LlamaCppChatModel(
            engine=request.getfixturevalue("llama_cpp_engine"), model_name="tiny", **{"max_new_tokens": 40, **fields}
        )
    if request.param == "scripted":
        return lambda **fields: ScriptedChatModel(**fields)
    running: openai_server.ParrotServer = request.getfixturevalue("server")
    return lambda **fields: RemoteChatModel.connect(
        running.url, openai_server.MODEL, api_key=SecretStr(openai_server.KEY), **fields
    )


def ask(model: BaseChatModel, question: str = QUESTION, **options: object) -> AIMessageChunk:
    """Stream an answer and join it."""
    whole = AIMessageChunk("")
    for chunk in model.stream([SystemMessage("You are Elysia."), HumanMessage(question)], **options):  # type: ignore[arg-type]
        whole += chunk  # type: ignore[assignment]
    return whole


def test_streamed_and_invoked_text_are_the_same(make: Make):
    model = make()
    messages = [SystemMessage("You are Elysia."), HumanMessage(QUESTION)]
    invoked = model.invoke(messages)
    assert invoked.text
    assert ask(model).text == invoked.text

    async def asynchronously() -> tuple[str, str]:
        streamed = [chunk.text async for chunk in model.astream(messages)]
        return "".join(streamed), (await model.ainvoke(messages)).text

    assert asyncio.run(asynchronously()) == (invoked.text, invoked.text)


def test_text_comes_in_pieces(make: Make):
    pieces = [chunk.text for chunk in make().stream(QUESTION) if chunk.text]
    assert len(pieces) > 5


def test_tokens_are_counted(make: Make):
    usage = ask(make()).usage_metadata
    assert usage is not None
    assert usage["input_tokens"] > 10
    assert usage["output_tokens"] > 10
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_texts_are_measured(make: Make):
    model = make()
    assert model.get_num_tokens("") == 0
    assert 0 < model.get_num_tokens("爱莉") < model.get_num_tokens("爱莉希雅 and friends")


def test_a_full_answer_says_stop_and_a_cut_one_length(make: Make):
    model = make()
    cut = ask(model, max_new_tokens=5)
    assert cut.response_metadata["finish_reason"] == "length"
    assert cut.usage_metadata is not None
    assert cut.usage_metadata["output_tokens"] == 5
    assert ask(model).text.startswith(cut.text)


def test_a_stop_string_ends_the_answer_and_is_never_shown(make: Make):
    model = make()
    text = ask(model).text
    stop = text[7:10]
    whole = model.invoke([SystemMessage("You are Elysia."), HumanMessage(QUESTION)], stop=[stop])
    for stopped in (ask(model, stop=[stop]), whole):
        assert stopped.text == text[: text.index(stop)]
        assert stopped.response_metadata["finish_reason"] == "stop"


def test_a_stop_string_may_be_a_setting(make: Make):
    text = ask(make()).text
    assert ask(make(stop=(text[5:8],))).text == text[: text.index(text[5:8])]


def test_a_left_stream_leaves_the_model_free(make: Make):
    model = make()
    whole = ask(model).text
    for _ in range(3):
        stream = model.stream([SystemMessage("You are Elysia."), HumanMessage(QUESTION)])
        next(stream)
        stream.close()
    assert ask(model).text == whole


def test_an_event_cancels_the_answer(make: Make):
    model, cancelled = make(), threading.Event()
    stream = model.stream(QUESTION, cancelled=cancelled)
    next(stream)
    cancelled.set()
    with pytest.raises(GenerationCancelledError):
        list(stream)
    assert ask(model).text


def test_answers_of_many_callers_are_not_crossed(make: Make):
    model = make()
    questions = [f"Question number {number}: {'again ' * (number % 4)}why?" for number in range(12)]
    alone = [ask(model, question).text for question in questions]
    with ThreadPoolExecutor(6) as callers:
        assert [one.text for one in callers.map(lambda question: ask(model, question), questions)] == alone

    async def together() -> list[str]:
        system = SystemMessage("You are Elysia.")
        answers = await asyncio.gather(*(model.ainvoke([system, HumanMessage(question)]) for question in questions))
        return [one.text for one in answers]

    assert asyncio.run(together()) == alone
