"""Markup and scripts in messages, replies, documents, names and cards are shown, and never run.

The fixture `visit` fails the test when a dialog opens, an error is thrown, or a request leaves the machine; the
payloads below would cause one of these in every place where they are not escaped.
"""

import json

import pytest
from playwright.sync_api import expect

from elysia_chat.configs.paths import user_persona_dir
from elysia_chat.llm.scripted import ScriptedChatModel

from .parts import ServicesWith

pytestmark = pytest.mark.browser

SCRIPT = "<script>alert('script')</script>"
IMAGE = "<img src=x onerror=\"alert('image')\">"
BREAKOUT = "\"'><svg onload=alert('svg')>"
TEMPLATE = "${alert('template')} {{alert('handlebars')}} `${alert('tick')}`"
MARKDOWN = "[press me](javascript:alert('link')) ![picture](http://203.0.113.9/spy.png) <http://203.0.113.9/auto>"
EVERYTHING = f"{SCRIPT} {IMAGE} {BREAKOUT} {TEMPLATE} {MARKDOWN}"
FOREIGN_ELEMENTS = "#history :is(script, img, iframe, object, [onerror], [onload], a[href^='javascript'])"


FILE = "<img src=x onerror=alert('file')>"


@pytest.fixture
def lore():
    as_text = f"{IMAGE}{TEMPLATE} {BREAKOUT}{SCRIPT}".replace("<", "&lt;")
    return {"title.md": f"# Moonflowers {as_text}\n\n## {as_text}\n\nmoonflowers {as_text}\n"}


def write_unsafe_file(extension: str, content: str) -> None:
    """Put a file into the folder by hand, since an upload of that name would be renamed."""
    folder = user_persona_dir("violet") / "lore"
    (folder / f"{FILE}{extension}").write_text(content, encoding="utf-8")


def test_messages_and_replies_are_text(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=(f"{EVERYTHING} [1]",)))))
    visitor.ask(EVERYTHING)
    visitor.page.wait_for_timeout(500)
    assert visitor.questions() == [EVERYTHING]
    expect(visitor.page.locator(FOREIGN_ELEMENTS)).to_have_count(0)
    assert SCRIPT in visitor.answers()[0]
    assert IMAGE in visitor.answers()[0]
    links = visitor.page.locator(".exchange .text a")
    assert [link.get_attribute("href") for link in links.all()] == [
        "http://203.0.113.9/spy.png",
        "http://203.0.113.9/auto",
    ]
    expect(links.first).to_have_attribute("rel", "noopener noreferrer nofollow")
    visitor.press("edit")
    expect(visitor.page.locator("#box textarea")).to_have_value(EVERYTHING)


def test_documents_titles_and_file_names_are_text(start, visit):
    services = ServicesWith(ScriptedChatModel(replies=("Here [1] [2]. ",)))
    url = start(services)
    write_unsafe_file(".txt", f"moonflowers {EVERYTHING}")
    visitor = visit(url)
    visitor.open_lore()
    visitor.page.locator("#ingest").click()
    expect(visitor.page.locator("#report .report")).to_contain_text("Done")
    rows = visitor.page.locator("#table tbody tr")
    expect(rows.filter(has_text=f"{FILE}.txt")).to_have_count(1)
    expect(rows.filter(has_text=f"Moonflowers {IMAGE}")).to_have_count(1)
    for row in rows.all():
        row.locator(".open").click()
        expect(visitor.page.locator("#preview h3")).to_contain_text(row.locator(".open").inner_text())
        expect(visitor.page.locator("#preview blockquote")).to_contain_text(SCRIPT)
    visitor.page.locator("#search-box :is(input, textarea)").fill(f"moonflowers {EVERYTHING}")
    visitor.page.keyboard.press("Enter")
    expect(visitor.page.locator("#found .passage").first).to_be_visible()
    visitor.open_chat()
    visitor.ask("moonflowers")
    for summary in visitor.page.locator(".exchange .passage summary").all():
        summary.click()
    passages = visitor.page.locator(".exchange .passage")
    expect(passages.filter(has_text=f"{FILE}.txt")).to_have_count(1)
    expect(passages.locator("blockquote").filter(has_text=SCRIPT)).to_have_count(2)
    visitor.page.wait_for_timeout(500)
    expect(visitor.page.locator(":is(#lore, #history) :is(img, script, iframe, [onerror], [onload])")).to_have_count(0)


def test_the_name_of_a_file_that_cannot_be_read_is_text(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    write_unsafe_file(".pdf", "%PDF-1.7 nothing")
    visitor.open_lore()
    visitor.page.locator("#ingest").click()
    expect(visitor.page.locator("#report li")).to_contain_text(FILE)
    expect(visitor.page.locator("#table .reason")).to_contain_text("PDF")
    expect(visitor.page.locator("#lore :is(img, [onerror])")).to_have_count(0)


def test_the_card_is_text(start, visit):
    path = user_persona_dir("violet") / "card.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    english = card["data"]["extensions"]["elysia_chat"]["languages"]["en"]
    english |= {"name": f"Violet {IMAGE}{TEMPLATE}", "greeting": EVERYTHING, "examples": [EVERYTHING, BREAKOUT]}
    path.write_text(json.dumps(card), encoding="utf-8")
    visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Yes.",)))))
    visitor.page.wait_for_timeout(300)
    expect(visitor.page.locator(".greeting h1")).to_contain_text("<img")
    expect(visitor.page.locator(FOREIGN_ELEMENTS)).to_have_count(0)
    visitor.page.locator(".chip").nth(1).click()
    expect(visitor.page.locator("#history .exchange .replies")).to_have_count(1)
    assert visitor.questions() == [BREAKOUT]


def test_the_browser_is_told_to_fetch_nothing_from_elsewhere(start, visit):
    url = start(ServicesWith(ScriptedChatModel()))
    visitor = visit(url)
    policy = visitor.page.request.get(url).headers["content-security-policy"]
    assert "default-src 'self'" in policy
    refused = visitor.page.evaluate(
        "() => new Promise(done => { const image = new Image(); image.onerror = () => done(true);"
        " image.onload = () => done(false); image.src = 'http://127.0.0.1:9/elsewhere.png'; })"
    )
    assert refused


@pytest.mark.parametrize("path", ["card.json", "lore/harbour.md"])
def test_no_file_of_the_machine_is_served(start, visit, path):
    url = start(ServicesWith(ScriptedChatModel()))
    target = user_persona_dir("violet") / path
    answer = visit(url).page.request.get(f"{url}gradio_api/file={target}")
    assert answer.status in (403, 404)
