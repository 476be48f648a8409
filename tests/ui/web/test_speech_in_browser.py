"""Hearing: what the browser plays, when, and what makes it stop."""

from itertools import pairwise
from typing import Any

import pytest
from playwright.sync_api import expect

from elysia_chat.llm.scripted import ScriptedChatModel

from .parts import ServicesWith, Visitor

pytestmark = pytest.mark.browser

REPLY = "Moonflowers open at night. They smell of rain. Nobody else has seen them bloom here [1]."


def heard(visitor: Visitor) -> list[dict[str, Any]]:
    return list(visitor.page.evaluate("elysiaVoice.heard"))


def wait_until_heard(visitor: Visitor, count: int) -> None:
    visitor.page.wait_for_function(f"elysiaVoice.heard.length >= {count}")


def speaking(visitor: Visitor) -> Any:
    return visitor.page.locator("body.speaking")


def test_a_reply_is_heard_sentence_by_sentence_while_it_is_written_and_without_gaps(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=(REPLY,), delay_s=0.05))))
    visitor.write("Where does Violet grow moonflowers?")
    wait_until_heard(visitor, 1)
    expect(visitor.page.locator("#live .answering")).to_be_visible()
    visitor.wait_until_settled()
    wait_until_heard(visitor, 3)
    sounds = heard(visitor)
    assert [item["number"] for item in sounds] == [0, 1, 2]
    for before, after in pairwise(sounds):
        gap = after["start"] - before["start"] - before["seconds"]
        assert -1e-6 <= gap < 0.15, sounds


def test_stop_cuts_the_speech_and_so_does_a_new_message(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=(REPLY * 4,)))))
    visitor.ask("Moonflowers?")
    expect(speaking(visitor)).to_have_count(1)
    visitor.page.locator("#stop").click()
    expect(speaking(visitor)).to_have_count(0)
    before = len(heard(visitor))
    visitor.ask("And again?")
    wait_until_heard(visitor, before + 1)
    replies = {item["reply"] for item in heard(visitor)}
    assert len(replies) == 2


def test_a_muted_page_is_silent_and_stays_so(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=(REPLY,))))
    visitor = visit(url)
    visitor.page.locator('[data-client="sound"]').click()
    expect(visitor.page.locator("body.muted")).to_have_count(1)
    visitor.ask("Moonflowers?")
    visitor.page.reload()
    visitor.page.wait_for_selector(".greeting")
    expect(visitor.page.locator("body.muted")).to_have_count(1)
    visitor.ask("Moonflowers?")
    assert heard(visitor) == []
    visitor.page.locator('[data-client="sound"]').click()
    visitor.ask("Moonflowers?")
    wait_until_heard(visitor, 3)


def test_any_answer_can_be_heard_again(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("First answer here.", "The second answer.")))))
    visitor.page.locator('[data-client="sound"]').click()
    visitor.ask("One?")
    visitor.ask("Two?")
    assert heard(visitor) == []
    visitor.page.locator('[data-action="speak"]').first.click()
    wait_until_heard(visitor, 1)
    expect(speaking(visitor)).to_have_count(1)
    expect(speaking(visitor)).to_have_count(0)


def test_two_pages_hear_their_own_replies(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=(REPLY,))))
    one, two = visit(url), visit(url)
    one.ask("Moonflowers?")
    wait_until_heard(one, 3)
    assert heard(two) == []
    two.ask("Moonflowers?")
    wait_until_heard(two, 3)
    assert {item["reply"] for item in heard(one)}.isdisjoint(item["reply"] for item in heard(two))


def test_without_speech_there_is_nothing_to_press(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=(REPLY,)), "voice.enabled=false")))
    visitor.ask("Moonflowers?")
    expect(visitor.page.locator('[data-client="sound"]')).to_have_count(0)
    expect(visitor.page.locator('[data-action="speak"]')).to_be_hidden()
    assert heard(visitor) == []


def test_a_voice_that_cannot_speak_leaves_the_text_and_one_line(start, visit):
    services = ServicesWith(ScriptedChatModel(replies=("Привет, мой друг.", "Fine.")))
    visitor = visit(start(services))
    visitor.ask("Moonflowers?")
    expect(visitor.page.locator("#voice-problem")).to_contain_text("No voice")
    assert visitor.answers() == ["Привет, мой друг."]
    visitor.ask("And now?")
    wait_until_heard(visitor, 1)
    expect(visitor.page.locator("#voice-problem")).to_have_count(0)


def test_voices_and_speed_are_chosen_in_the_drawer(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Moonflowers open at night.",)))))
    visitor.ask("One?")
    wait_until_heard(visitor, 1)
    visitor.open_settings()
    visitor.page.locator("#voice button").first.click()
    speed = visitor.page.locator('#voice-speed input[type="number"]')
    with visitor.server_takes("[2]"):
        speed.fill("2")
        speed.blur()
    with visitor.server_takes('["silence"]'):
        visitor.page.locator("#voice-en input").click()
        visitor.page.get_by_role("option", name="silence").click()
    visitor.page.locator('[data-client="close-drawer"]').click()
    visitor.ask("Two?")
    wait_until_heard(visitor, 2)
    slow, fast = heard(visitor)[:2]
    assert fast["seconds"] < 0.7 * slow["seconds"]
