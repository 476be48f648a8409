"""The fake: what the contract of all models cannot see."""

import asyncio
import time

from langchain_core.messages import HumanMessage, SystemMessage

from elysia_chat.llm.scripted import ScriptedChatModel, split_tokens


def test_replies_come_in_turn_and_start_over():
    model = ScriptedChatModel(replies=("one", "two"))
    assert [model.invoke("x").text for _ in range(3)] == ["one", "two", "one"]


def test_without_replies_it_repeats_the_last_user_message():
    assert (
        ScriptedChatModel().invoke([SystemMessage("s"), HumanMessage("你好♪ hello there")]).text == "你好♪ hello there"
    )


def test_prompts_are_kept():
    model = ScriptedChatModel(replies=("ok",))
    model.invoke([SystemMessage("s"), HumanMessage("a")])
    list(model.stream("b"))
    assert [[message.text for message in prompt] for prompt in model.prompts] == [["s", "a"], ["b"]]


def test_it_speaks_word_by_word_and_character_by_character():
    assert split_tokens("Hi there,\n我是爱莉♪") == ["Hi ", "there", ",", "\n", "我", "是", "爱", "莉", "♪"]
    pieces = [chunk.text for chunk in ScriptedChatModel(replies=("Hi there 爱莉",)).stream("x")]
    assert [piece for piece in pieces if piece] == ["Hi ", "there ", "爱", "莉"]


def test_the_pause_comes_before_each_token():
    model = ScriptedChatModel(replies=("a b c",), delay_s=0.03)
    start = time.perf_counter()
    model.invoke("x")
    assert time.perf_counter() - start >= 0.09

    async def main() -> float:
        start = time.perf_counter()
        await asyncio.gather(*(model.ainvoke("x") for _ in range(20)))
        return time.perf_counter() - start

    assert asyncio.run(main()) < 20 * 0.09


def test_an_empty_reply_is_an_answer_too():
    reply = ScriptedChatModel(replies=("",)).invoke("x")
    assert (reply.text, reply.response_metadata["finish_reason"]) == ("", "stop")
