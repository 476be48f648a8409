"""Talking: ask, watch the answer come, read its sources, stop, retry, take back, edit, clear, export."""

import json
import threading
from pathlib import Path

import pytest
from playwright.sync_api import expect

from elysia_chat.llm.scripted import ScriptedChatModel

from .parts import PATIENCE_MS, EndlessModel, FailingOnceModel, RecordingModel, ServicesWith

pytestmark = pytest.mark.browser


def test_an_answer_streams_and_shows_its_sources(start, visit):
    reply = "Behind the old observatory, among the moonflowers [1]. " * 4
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=(reply,), delay_s=0.03))))
    visitor.write("Where does Violet grow moonflowers?")
    writing = visitor.page.locator("#live .writing")
    expect(writing).to_be_visible(timeout=PATIENCE_MS)
    early = writing.inner_text()
    expect(visitor.page.locator("#stop")).to_be_visible()
    visitor.wait_until_settled()
    (answer,) = visitor.answers()
    assert 0 < len(early) < len(answer)
    cited = visitor.page.locator(".exchange .sources > .passage")
    expect(cited).to_have_count(1)
    expect(cited.locator(".number")).to_have_text("1")
    expect(cited.locator(".where")).to_contain_text("Violet")
    expect(cited.locator(".score")).to_have_text("1.00")
    cited.locator("summary").click()
    expect(cited.locator("blockquote")).to_contain_text("Violet grows moonflowers behind the old observatory.")
    expect(cited.locator("blockquote mark").filter(has_text="moonflowers")).to_have_count(1)
    expect(cited.locator(".from code")).to_have_text("violet.md")
    expect(visitor.page.locator(".also > summary")).to_have_text("Also read 1 more")
    expect(visitor.page.locator(".also .passage").first).to_be_hidden()
    expect(visitor.page.locator(".text .cite").first).to_have_text("1")


def test_small_talk_shows_only_the_quiet_disclosure(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Hello, dear.",)))))
    visitor.ask("Hi! Violet?")
    expect(visitor.page.locator(".sources > .passage")).to_have_count(0)
    expect(visitor.page.locator(".also > summary")).to_contain_text("before answering")


def test_the_greeting_offers_questions_that_can_be_pressed(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Me? Violet.",)))))
    expect(visitor.page.locator(".greeting .text")).to_contain_text("Hello, I am Violet")
    visitor.page.get_by_role("button", name="Who are you?").click()
    expect(visitor.page.locator("#history .exchange .replies")).to_have_count(1)
    assert visitor.questions() == ["Who are you?"]
    expect(visitor.page.locator(".chip")).to_have_count(0)


def test_stop_ends_the_computation_and_keeps_what_was_said(start, visit):
    model = EndlessModel(ended=threading.Event())
    visitor = visit(start(ServicesWith(model)))
    visitor.write("Sing for me")
    expect(visitor.page.locator("#live .writing")).to_contain_text("la la la")
    visitor.page.locator("#stop").click()
    assert model.ended.wait(10)
    visitor.wait_until_settled()
    said = len(model.pieces)
    assert visitor.answers()[0].startswith("la la la")
    expect(visitor.page.locator(".note")).to_have_text("stopped")
    visitor.page.wait_for_timeout(300)
    assert len(model.pieces) == said


def test_closing_the_browser_ends_the_computation(start, visit):
    model = EndlessModel(ended=threading.Event())
    visitor = visit(start(ServicesWith(model)))
    visitor.write("Sing for me")
    expect(visitor.page.locator("#live .writing")).to_contain_text("la la")
    visitor.page.context.close()
    assert model.ended.wait(30)


def test_retry_replaces_the_answer_and_is_sampled(start, visit):
    model = RecordingModel(replies=("First.", "Second."))
    visitor = visit(start(ServicesWith(model)))
    visitor.ask("Violet?")
    visitor.press("retry")
    expect(visitor.page.locator("#history .exchange .reply .text")).to_have_text(["Second."])
    assert visitor.questions() == ["Violet?"]
    assert [asked["temperature"] for asked in model.asked_with] == [0.0, 0.7]
    assert len(model.prompts[1]) == len(model.prompts[0])


def test_undo_gives_the_message_back(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("One.", "Two.", "Three.")))))
    visitor.ask("First question")
    visitor.ask("Second question")
    visitor.press("undo")
    expect(visitor.page.locator("#box textarea")).to_have_value("Second question")
    assert visitor.questions() == ["First question"]
    visitor.ask("Third question")
    assert visitor.answers() == ["One.", "Three."]


def test_edit_goes_on_from_the_edited_message(start, visit):
    model = RecordingModel(replies=("One.", "Two.", "Three."))
    visitor = visit(start(ServicesWith(model)))
    visitor.ask("First question")
    visitor.ask("Second question")
    visitor.page.locator('[data-action="edit"]').first.click()
    expect(visitor.page.locator("#box textarea")).to_have_value("First question")
    expect(visitor.page.locator(".editing")).to_be_visible()
    visitor.write("Better question")
    expect(visitor.page.locator("#history .exchange .reply .text")).to_have_text(["Three."])
    assert visitor.questions() == ["Better question"]
    assert [type(message).__name__ for message in model.prompts[2]] == ["SystemMessage", "HumanMessage"]


def test_an_edit_can_be_given_up(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("One.", "Two.")))))
    visitor.ask("First question")
    visitor.press("edit")
    visitor.press("cancel-edit")
    expect(visitor.page.locator(".editing")).to_have_count(0)
    visitor.ask("Second question")
    assert visitor.questions() == ["First question", "Second question"]


def test_the_history_reaches_the_model_and_a_new_chat_forgets_it(start, visit):
    model = RecordingModel(replies=("One.", "Two.", "Three."))
    visitor = visit(start(ServicesWith(model)))
    visitor.ask("First question")
    visitor.ask("Second question")
    assert [message.content for message in model.prompts[1]][1:3] == ["First question", "One."]
    visitor.press("new-chat")
    expect(visitor.page.locator("#history .exchange")).to_have_count(0)
    expect(visitor.page.locator(".greeting.fresh")).to_be_visible()
    visitor.ask("Third question")
    assert len(model.prompts[2]) == 2


def test_a_new_chat_drops_a_reply_that_is_being_written(start, visit):
    model = EndlessModel(ended=threading.Event())
    visitor = visit(start(ServicesWith(model)))
    visitor.write("Sing for me")
    expect(visitor.page.locator("#live .writing")).to_contain_text("la")
    visitor.press("new-chat")
    assert model.ended.wait(10)
    visitor.wait_until_settled()
    expect(visitor.page.locator(".greeting.fresh")).to_be_visible()
    expect(visitor.page.locator("#history .exchange")).to_have_count(0)


def test_a_chat_is_exported_as_markdown_and_json(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("By the observatory [1].",)))))
    visitor.ask("Where does Violet grow moonflowers?")
    visitor.open_settings()
    files = {}
    for name in ("markdown", "json"):
        with visitor.page.expect_download() as download:
            visitor.page.locator(f"#export-{name}").click()
        files[name] = (download.value.suggested_filename, Path(download.value.path()).read_text(encoding="utf-8"))
    assert files["markdown"][0].startswith("violet-")
    assert files["markdown"][0].endswith(".md")
    assert "> Where does Violet grow moonflowers?" in files["markdown"][1]
    assert "- [1] Violet" in files["markdown"][1]
    data = json.loads(files["json"][1])
    assert data["exchanges"][0]["answers"][0]["cited"] == [1]
    assert data["exchanges"][0]["answers"][0]["sources"][0]["document"] == "violet.md"


def test_an_error_is_one_quiet_line_and_the_next_message_works(start, visit):
    visitor = visit(start(ServicesWith(FailingOnceModel(replies=("Here I am.",)))))
    visitor.write("Are you there?")
    notice = visitor.page.locator("#history .notice")
    expect(notice).to_have_text("The model server does not answer: start it & try <again>.", use_inner_text=True)
    expect(visitor.page.locator("#box textarea")).to_have_value("Are you there?")
    expect(visitor.page.locator("#send")).to_be_visible()
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#history .exchange .reply .text")).to_have_text("Here I am.")
    expect(notice).to_have_count(0)


def test_an_error_that_nobody_foresaw_leaves_the_page_usable(start, visit):
    visitor = visit(start(ServicesWith(FailingOnceModel(replies=("Here I am.",), failure=ZeroDivisionError()))))
    visitor.write("Are you there?")
    expect(visitor.page.locator("#history .notice")).to_contain_text("The answer was interrupted.")
    assert visitor.box() == "Are you there?"
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#history .exchange .reply .text")).to_have_text("Here I am.")


def test_messages_that_cannot_be_answered_are_refused_in_one_line(start, visit):
    model = RecordingModel(replies=("Fine.",))
    visitor = visit(start(ServicesWith(model)))
    notice = visitor.page.locator("#history .notice")
    visitor.write(" \u200b\t ")
    expect(notice).to_have_text("Write something first.")
    visitor.write("long " * 20_000)
    expect(notice).to_contain_text("100,000 characters; the limit is 4,000")
    assert len(visitor.box()) == 100_000
    visitor.ask("\x07Hel\x1blo\u202e")
    assert visitor.questions() == ["Hello"]
    assert len(model.prompts) == 1


def test_two_visitors_do_not_see_each_other(start, visit):
    model = RecordingModel(replies=("One.", "Two.", "Three."))
    url = start(ServicesWith(model))
    ada, eve = visit(url), visit(url)
    ada.ask("My secret is the lighthouse")
    eve.ask("Hello there")
    assert eve.questions() == ["Hello there"]
    assert ada.questions() == ["My secret is the lighthouse"]
    assert "lighthouse" not in str(model.prompts[1])
    ada.press("new-chat")
    expect(ada.page.locator("#history .exchange")).to_have_count(0)
    assert eve.questions() == ["Hello there"]


def test_others_wait_in_line_and_are_told_when_it_is_full(start, visit, monkeypatch):
    monkeypatch.setattr("elysia_chat.ui.web.chat_tab._TURNS_REMOTE", 1)
    model = EndlessModel(ended=threading.Event())
    url = start(ServicesWith(model, "server.sessions=1"))
    first, second, third = visit(url), visit(url), visit(url)
    first.write("Sing for me")
    expect(first.page.locator("#live .writing")).to_contain_text("la")
    second.write("And for me")
    expect(second.page.locator("#live .status")).to_contain_text("1 before you")
    third.write("And me?")
    expect(third.page.locator("#history .notice")).to_have_text(
        "Too many people are waiting. Please try again in a moment."
    )
    assert third.box() == "And me?"
    first.page.locator("#stop").click()
    expect(second.page.locator("#live .writing")).to_contain_text("la")
    second.page.locator("#stop").click()
    second.wait_until_settled()
    assert second.questions() == ["And for me"]


def test_a_page_that_is_closed_leaves_nothing_pending(start, visit, monkeypatch):
    monkeypatch.setattr("elysia_chat.ui.web.chat_tab._TURNS_REMOTE", 1)
    model = EndlessModel(ended=threading.Event())
    url = start(ServicesWith(model))
    first, second, third = visit(url), visit(url), visit(url)
    first.write("Sing for me")
    expect(first.page.locator("#live .writing")).to_contain_text("la")
    second.write("And for me")
    expect(second.page.locator("#live .status")).to_contain_text("1 before you")
    second.page.context.close()
    first.page.context.close()
    assert model.ended.wait(30)
    third.write("And me?")
    expect(third.page.locator("#live .writing")).to_contain_text("la")
