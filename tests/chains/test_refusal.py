import json
from pathlib import Path

import pytest

from elysia_chat.chains.refusal import is_refusal

PERSONA = Path(__file__).parents[2] / "kb" / "personas" / "elysia"


@pytest.mark.parametrize(
    "text",
    [
        "唔，这个我真的不知道呢。",
        "抱歉，资料里没有提到这一点。",
        "这件事没有留在记录里，等我知道了，第一个告诉舰长♪",
        "我翻遍了资料，也没有找到答案呢。",
        "I don't know, I'm afraid; it isn't written anywhere I can see.",
        "I don’t know that one.",
        "The passages do not mention that.",
        "Sorry, I have no record of that.",
        "资料[1]里没有提到她的生日。",
        "The passages [1] [2] do not say who built it.",
    ],
)
def test_says_that_it_does_not_know(text: str) -> None:
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "她的生日是11月11日 [1]。",
        "没有人知道它的名字，但守门的人叫罗森 [2]。",
        "资料里写着“我不知道她去了哪里” [1]。",
        'The text says "I do not know what became of him" [3].',
        "Nobody knew the way, so they followed the heron [1].",
        "早上好，舰长♪",
        "我最喜欢的就是听你说话。",
        "It was lost in 1432 [2]. I never forget such things ♪",
    ],
)
def test_facts_and_talk_are_no_refusals(text: str) -> None:
    assert not is_refusal(text)


def test_every_refusal_of_the_card_is_recognised() -> None:
    card = json.loads((PERSONA / "card.json").read_text(encoding="utf-8"))
    languages = card["data"]["extensions"]["elysia_chat"]["languages"]
    assert all(is_refusal(text) for part in languages.values() for text in part["refusal"])


def test_introductions_and_greetings_are_none() -> None:
    lines = (PERSONA / "dialogues.jsonl").read_text(encoding="utf-8").splitlines()
    said = [
        message["content"]
        for line in lines
        if (entry := json.loads(line))["kind"] in ("introduction", "small_talk")
        for message in entry["messages"]
        if message["role"] == "assistant"
    ]
    assert said
    assert not [text for text in said if is_refusal(text)]
