"""Choosing: how answers are made, language, look, persona; and the page on a phone and behind a password."""

import pytest
from playwright.sync_api import expect

from elysia_chat.kb.personas import create_persona
from elysia_chat.llm.scripted import ScriptedChatModel

from .parts import PATIENCE_MS, RecordingModel, ServicesWith

pytestmark = pytest.mark.browser

WIDER_THAN_THE_SCREEN = "document.documentElement.scrollWidth > document.documentElement.clientWidth"


def test_without_lore_nothing_is_searched(start, visit):
    model = RecordingModel(replies=("I guess [1].",))
    visitor = visit(start(ServicesWith(model)))
    visitor.open_settings()
    visitor.choose("off")
    visitor.page.keyboard.press("Escape")
    visitor.ask("Where does Violet grow moonflowers?")
    expect(visitor.page.locator(".sources")).to_have_count(0)
    assert model.prompts[0][-1].content == "Where does Violet grow moonflowers?"


def test_both_ways_stand_side_by_side(start, visit):
    model = RecordingModel(replies=("With lore [1].", "Without.", "Again [1].", "Again without."))
    visitor = visit(start(ServicesWith(model)))
    visitor.open_settings()
    visitor.choose("both")
    visitor.page.keyboard.press("Escape")
    visitor.ask("Where does Violet grow moonflowers?")
    replies = visitor.page.locator(".replies.two .reply")
    expect(replies).to_have_count(2)
    left, right = replies.nth(0).bounding_box(), replies.nth(1).bounding_box()
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]
    expect(visitor.page.locator(".way")).to_have_text(["From lore", "No lore"])
    expect(replies.nth(1).locator(".sources")).to_have_count(0)
    visitor.ask("And the ferry?")
    assert [message.content for message in model.prompts[2]][2] == "With lore."
    assert [message.content for message in model.prompts[3]][2] == "Without."


def test_the_controls_reach_model_and_retriever_and_can_be_reset(start, visit):
    model = RecordingModel(replies=("Yes.",))
    visitor = visit(start(ServicesWith(model)))
    visitor.open_settings()
    visitor.page.locator("#sampling > button").click()
    visitor.page.locator("#retrieval > button").click()
    for label, value in (("Temperature", "0.5"), ("Top-k", "7"), ("Passages in the prompt", "1")):
        field = visitor.page.locator("#drawer input[type=number]").and_(visitor.page.get_by_label(label))
        field.fill(value)
        field.blur()
    visitor.seed().fill("42")
    visitor.page.keyboard.press("Escape")
    visitor.ask("Where does Violet grow moonflowers?")
    asked = model.asked_with[0]
    assert (asked["temperature"], asked["top_k"], asked["seed"]) == (0.5, 7, 42)
    expect(visitor.page.locator(".exchange .passage")).to_have_count(1)
    visitor.open_settings()
    visitor.page.locator("#reset").click()
    expect(visitor.seed()).to_have_value("")
    visitor.page.keyboard.press("Escape")
    visitor.ask("And again?")
    assert (model.asked_with[1]["temperature"], model.asked_with[1]["seed"]) == (0.0, None)
    expect(visitor.page.locator(".exchange").last.locator(".passage")).to_have_count(2)


def test_a_seed_that_is_no_number_is_refused_in_one_line(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Yes.",)))))
    visitor.open_settings()
    visitor.page.locator("#sampling > button").click()
    visitor.seed().fill("<b>soon</b>")
    visitor.page.keyboard.press("Escape")
    visitor.write("Hello")
    expect(visitor.page.locator("#history .notice")).to_contain_text("seed:")
    assert visitor.box() == "Hello"


def test_the_interface_follows_the_browser_and_can_be_switched(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=("Yes.",))))
    visitor = visit(url, locale="zh-CN")
    expect(visitor.page.get_by_role("tab").first).to_have_text("聊天")
    expect(visitor.page.locator(".greeting .text")).to_contain_text("你好，我是Violet")
    visitor.ask("Violet?")
    visitor.open_settings()
    visitor.choose("en")
    expect(visitor.page.get_by_role("tab").first).to_have_text("Chat")
    expect(visitor.page.locator("#drawer h2")).to_have_text("Settings")
    assert visitor.questions() == ["Violet?"]
    assert visit(url, locale="en-US").page.get_by_role("tab").first.inner_text() == "Chat"


def test_each_persona_has_its_own_chat(start, visit, data_folder):
    create_persona("Orchid")
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Yes.",)))))
    visitor.ask("A question for Violet")
    visitor.open_settings()
    visitor.page.get_by_label("Persona").click()
    visitor.page.get_by_role("option", name="Orchid").click()
    expect(visitor.page.locator("#header strong")).to_have_text("Orchid")
    expect(visitor.page.locator("#history .exchange")).to_have_count(0)
    visitor.page.get_by_label("Persona").click()
    visitor.page.get_by_role("option", name="Violet").click()
    expect(visitor.page.locator("#history .mine .bubble")).to_have_text("A question for Violet")


def test_it_is_dark_in_the_dark_and_stays_as_it_was_set(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=("Yes.",))))
    visitor = visit(url, color_scheme="dark")

    def brightness() -> float:
        ink, ground = (
            visitor.page.evaluate(f"getComputedStyle(document.body).getPropertyValue('{name}')").strip().lstrip("#")
            for name in ("--ink", "--ground")
        )
        return sum(bytes.fromhex(ground)) - sum(bytes.fromhex(ink))

    assert brightness() < 0
    visitor.open_settings()
    visitor.choose("light")
    assert brightness() > 0
    visitor.page.reload()
    visitor.page.wait_for_selector(".greeting", timeout=PATIENCE_MS)
    visitor.page.wait_for_function("!document.body.classList.contains('dark')")
    assert brightness() > 0


def test_on_a_phone_nothing_sticks_out(start, visit):
    long_word = "https://example.invalid/" + "a" * 300
    visitor = visit(
        start(ServicesWith(ScriptedChatModel(replies=(f"Look: {long_word} [1]\n\n    code {long_word}",)))),
        viewport={"width": 390, "height": 844},
        has_touch=True,
        is_mobile=True,
    )
    assert not visitor.page.evaluate(WIDER_THAN_THE_SCREEN)
    visitor.ask(f"Violet {long_word}")
    assert not visitor.page.evaluate(WIDER_THAN_THE_SCREEN)
    visitor.page.locator(".passage summary").first.click()
    assert not visitor.page.evaluate(WIDER_THAN_THE_SCREEN)
    visitor.write("much " * 1000)
    expect(visitor.page.locator("#history .notice")).to_be_visible()
    visitor.page.wait_for_timeout(300)
    notice, box = (visitor.page.locator(name).bounding_box() for name in ("#history .notice", "#box-row"))
    assert 0 < notice["y"] < notice["y"] + notice["height"] <= box["y"]
    visitor.open_settings()
    drawer = visitor.page.locator("#drawer").bounding_box()
    assert drawer["width"] <= 390
    visitor.page.locator('[data-client="close-drawer"]').click()
    visitor.open_lore()
    assert not visitor.page.evaluate(WIDER_THAN_THE_SCREEN)
    visitor.open_chat()
    expect(visitor.page.locator("#send")).to_be_in_viewport()


def test_title_and_icon_are_the_products_own_and_no_footer_shows(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=("Yes.",))))
    visitor = visit(url)
    assert visitor.page.title() == "Elysia Chat"
    assert visitor.page.request.get(f"{url}favicon.ico").headers["content-type"] == "image/png"
    expect(visitor.page.locator("footer")).to_be_hidden()


def test_a_password_keeps_others_out(start, visit):
    url = start(ServicesWith(ScriptedChatModel(replies=("Yes.",)), "server.user=friend", "server.password=moon"))
    visitor = visit(url, wait=False)
    page = visitor.page
    assert page.request.get(f"{url}config").status == 401
    page.locator("input").nth(0).fill("friend")
    page.locator("input[type=password]").fill("sun")
    page.get_by_role("button").last.click()
    expect(page.get_by_text("Incorrect Credentials")).to_be_visible()
    expect(page.locator(".greeting")).to_have_count(0)
    page.locator("input").nth(0).fill("friend")
    page.locator("input[type=password]").fill("moon")
    page.get_by_role("button").last.click()
    page.wait_for_selector(".greeting", timeout=PATIENCE_MS)
    visitor.ask("Hello")
    assert visitor.answers() == ["Yes."]
