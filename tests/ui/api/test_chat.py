"""Answers, as OpenAI's own client and LangChain's see them."""

from typing import Any

import httpx
import openai
import pytest
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from elysia_chat.llm.scripted import ScriptedChatModel
from tests.ui.web.parts import RecordingModel, ServicesWith

from .clients import QUESTION, body, user
from .conftest import REPLY


def test_an_answer_comes_with_its_sources_and_its_tokens(client: openai.OpenAI):
    done = client.chat.completions.create(model="violet", messages=user(QUESTION))
    choice = done.choices[0]
    assert (choice.message.content, choice.finish_reason, done.model) == (REPLY, "stop", "violet")
    assert done.usage.total_tokens == done.usage.prompt_tokens + done.usage.completion_tokens > done.usage.prompt_tokens
    first, second = choice.message.model_extra["sources"]
    assert (first["number"], first["document"], first["title"], first["heading"]) == (
        1,
        "violet.md",
        "Violet",
        "Garden",
    )
    assert "moonflowers" in first["text"]
    assert first["score"] > second["score"]
    assert (first["cited"], second["cited"]) == (True, False)


def test_a_stream_says_the_same_piece_by_piece(client: openai.OpenAI):
    options = {"include_usage": True}
    stream = client.chat.completions.create(
        model="violet", messages=user(QUESTION), stream=True, stream_options=options
    )
    pieces = list(stream)
    *answer, counted = pieces
    deltas = [piece.choices[0].delta for piece in answer]
    assert deltas[0].role == "assistant"
    assert "".join(delta.content or "" for delta in deltas) == REPLY
    assert len(pieces) > 5
    assert [piece.choices[0].finish_reason for piece in answer] == [None] * (len(answer) - 1) + ["stop"]
    assert [source["cited"] for source in deltas[-1].model_extra["sources"]] == [True, False]
    assert (counted.choices, counted.usage.completion_tokens > 5) == ([], True)
    assert {piece.usage for piece in answer} == {None}
    assert len({piece.id for piece in pieces}) == 1


def test_a_stream_without_usage_counts_nothing(client: openai.OpenAI):
    stream = client.chat.completions.create(model="violet", messages=user(QUESTION), stream=True)
    assert all(piece.choices and piece.usage is None for piece in stream)


def test_without_lore_nothing_is_searched(client: openai.OpenAI, model: ScriptedChatModel):
    done = client.chat.completions.create(model="violet@norag", messages=user(QUESTION))
    assert done.choices[0].message.model_extra["sources"] == []
    assert model.prompts[0][-1].content == QUESTION


def test_the_clients_messages_are_the_history_and_nothing_is_remembered(
    client: openai.OpenAI, model: ScriptedChatModel
):
    greeting = {"role": "assistant", "content": "Hello, traveller!"}
    said = [greeting, *user("Who are you?", "Violet.", "A gardener?"), {"role": "user", "content": "Say yes."}]
    client.chat.completions.create(model="violet@norag", messages=said)
    client.chat.completions.create(model="violet@norag", messages=user("And now?"))
    first, second = ([(message.type, message.text) for message in prompt] for prompt in model.prompts)
    assert first[1:] == [("human", "Who are you?"), ("ai", "Violet."), ("human", "A gardener?\nSay yes.")]
    assert second[1:] == [("human", "And now?")]


def test_parts_of_text_are_joined(client: openai.OpenAI, model: ScriptedChatModel):
    parts = [{"type": "text", "text": "Where"}, {"type": "text", "text": "is it?"}]
    client.chat.completions.create(model="violet@norag", messages=[{"role": "user", "content": parts}])
    assert model.prompts[0][-1].text == "Where\nis it?"


@pytest.mark.parametrize(("mode", "heard"), [("append", True), ("ignore", False)])
def test_a_clients_system_message_stands_between_the_persona_and_the_rules(start, connect, model, mode, heard):
    client = connect(start(ServicesWith(model, f"api.system_messages={mode}")))
    said = [{"role": "system", "content": "Answer in verse."}, *user(QUESTION)]
    client.chat.completions.create(model="violet", messages=said)
    system = model.prompts[0][0].text
    assert ("Answer in verse." in system) is heard
    assert system.startswith("You are Violet")
    assert system.endswith("without a number.")


def test_system_messages_can_be_refused(start, connect, model):
    client = connect(start(ServicesWith(model, "api.system_messages=refuse")))
    with pytest.raises(openai.BadRequestError, match="System messages"):
        client.chat.completions.create(model="violet", messages=[{"role": "system", "content": "X"}, *user("Y")])
    assert client.chat.completions.create(model="violet", messages=user("Y")).choices


def test_sampling_is_per_request(start, connect):
    model = RecordingModel(replies=("one two three four",), asked_with=[])
    client = connect(start(ServicesWith(model, "api.max_tokens=3")))
    client.chat.completions.create(
        model="violet", messages=user("Hi"), temperature=0.5, top_p=0.9, seed=-1, max_completion_tokens=50,
        extra_body={"top_k": 7, "repetition_penalty": 1.2},
    )  # fmt: skip
    asked = {name: value for name, value in model.asked_with[0].items() if name != "cancelled"}
    wanted = {"temperature": 0.5, "top_p": 0.9, "seed": 2**32 - 1, "top_k": 7, "repetition_penalty": 1.2}
    assert asked == {**wanted, "max_new_tokens": 3}


def test_an_answer_ends_at_its_length_or_at_a_stop(start, connect):
    client = connect(start(ServicesWith(ScriptedChatModel(replies=("one two three four",)))))

    def ask(**fields: Any) -> tuple[str, str]:
        choice = client.chat.completions.create(model="violet", messages=user("Count"), **fields).choices[0]
        return choice.message.content, choice.finish_reason

    assert ask(max_tokens=2) == ("one two ", "length")
    assert ask(stop=["three"]) == ("one two ", "stop")
    assert ask(stop="two") == ("one ", "stop")


def test_an_answer_may_take_half_of_the_context(start, connect):
    model = RecordingModel(replies=("Yes.",), asked_with=[])
    client = connect(start(ServicesWith(model, "model.context_tokens=600")))
    client.chat.completions.create(model="violet@norag", messages=user("Hi"), max_tokens=4096)
    assert model.asked_with[0]["max_new_tokens"] == 300


def test_what_clients_send_by_habit_is_no_error(http: httpx.Client):
    habits = {
        "frequency_penalty": 0.2, "presence_penalty": 0, "logit_bias": {}, "user": "u", "n": 1, "logprobs": False,
        "tools": [], "tool_choice": "auto", "response_format": {"type": "text"}, "stop": None, "seed": None,
        "metadata": {}, "store": False, "reasoning_effort": "low", "min_p": 0, "chat_id": "c", "stream_options": None,
    }  # fmt: skip
    assert http.post("v1/chat/completions", json=body(**habits)).status_code == 200


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "only one answer"),
    ({"logprobs": True}, "probabilities"),
    ({"response_format": {"type": "json_object"}}, "json_object"),
    ({"tool_choice": "required"}, "no tools"),
    ({"temperature": 9}, "temperature"),
    ({"stop": ["a"] * 17}, "stop"),
    ({"max_tokens": 0}, "max_tokens"),
    ({"messages": []}, "messages"),
    ({"messages": user("Hi", "Hello")}, "last message"),
    ({"messages": [{"role": "user", "content": "  "}]}, "last message"),
    ({"messages": [*user("Hi"), {"role": "tool", "content": "4"}]}, "tools"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "image_url"),
]


def test_what_cannot_be_had_is_refused_in_one_line(http: httpx.Client):
    for fields, reason in REFUSED:
        response = http.post("v1/chat/completions", json=body(**fields))
        error = response.json()["error"]
        assert (response.status_code, error["type"]) == (400, "invalid_request_error"), fields
        assert reason in error["message"], error
        assert "\n" not in error["message"]


def test_langchain_talks_with_a_persona(url: str):
    chat = ChatOpenAI(base_url=f"{url}v1", api_key=SecretStr("none"), model="violet", max_retries=0)
    assert chat.invoke(QUESTION).text == REPLY
    pieces = list(chat.stream([("system", "Be brief."), ("human", QUESTION)]))
    assert "".join(piece.text for piece in pieces) == REPLY
    assert len(pieces) > 5
