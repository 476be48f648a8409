"""The lore: upload, ingest, ask, look into it, search it, remove it."""

import pytest
from playwright.sync_api import expect

from elysia_chat.kb.personas import load_persona
from elysia_chat.llm.scripted import ScriptedChatModel

from .parts import RecordingModel, ServicesWith, Visitor

pytestmark = pytest.mark.browser


def upload(visitor: Visitor, *files: tuple[str, bytes]) -> None:
    with visitor.page.expect_file_chooser() as chooser:
        visitor.page.locator("#upload").click()
    chooser.value.set_files(
        [{"name": name, "mimeType": "application/octet-stream", "buffer": content} for name, content in files]
    )


def test_a_document_is_uploaded_asked_about_and_removed(start, visit):
    model = RecordingModel(replies=("At midnight [1].", "I do not know."))
    visitor = visit(start(ServicesWith(model)))
    visitor.open_lore()
    expect(visitor.page.locator("#table tbody tr")).to_have_count(2)
    upload(visitor, ("灯塔 lamp.md", b"# The lamp\n\nThe lighthouse lamp of Kestrel Point is lit at midnight.\n"))
    report = visitor.page.locator("#report .report")
    expect(report).to_contain_text("1 added")
    row = visitor.page.locator("#table tbody tr").filter(has_text="The lamp")
    expect(row.locator(".state")).to_have_text("Indexed")
    expect(row.locator(".own")).to_be_visible()
    expect(visitor.page.locator(".readiness")).to_contain_text("3 documents")

    visitor.open_chat()
    visitor.ask("When is the lighthouse lamp of Kestrel Point lit?")
    passage = visitor.page.locator(".sources > .passage").first
    expect(passage.locator(".where")).to_have_text("The lamp")
    passage.locator("summary").click()
    expect(passage.locator("blockquote")).to_contain_text("Kestrel Point is lit at midnight")

    visitor.open_lore()
    row.locator('[data-action="delete"]').click()
    expect(report).to_contain_text("1 deleted")
    expect(row).to_have_count(0)
    visitor.open_chat()
    visitor.begin_new_chat()
    visitor.ask("When is the lighthouse lamp of Kestrel Point lit?")
    assert "midnight" not in str(model.prompts[1])
    expect(visitor.page.locator(".exchange")).not_to_contain_text("midnight")


def test_files_that_cannot_be_read_are_listed_with_their_reason(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    visitor.open_lore()
    upload(visitor, ("good.txt", b"Larks sing at dawn."), ("empty.md", b""), ("broken.pdf", b"%PDF-1.7 nothing"))
    report = visitor.page.locator("#report .report")
    expect(report).to_contain_text("1 added")
    expect(report.locator("li")).to_have_count(2)
    expect(report.locator("li").filter(has_text="empty.md")).to_be_visible()
    expect(report.locator("li").filter(has_text="broken.pdf")).to_be_visible()
    assert set(load_persona("violet").documents()) == {"good.txt", "harbour.md", "violet.md"}


def test_a_changed_document_is_taken_in_by_a_new_ingest(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    load_persona("violet").add_document("harbour.md", b"# Harbour\n\nThe ferry sails at noon now.\n")
    visitor.open_lore()
    visitor.page.locator("#ingest").click()
    expect(visitor.page.locator("#report .report")).to_contain_text("1 updated · 1 unchanged")


def test_a_document_that_came_with_the_persona_can_be_restored(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel(), "persona=elysia")))
    visitor.open_lore()
    row = visitor.page.locator('#table tr[data-path="eden.md"]')
    row.locator('[data-action="delete"]').click()
    expect(row.locator(".state")).to_have_text("Removed")
    row.locator('[data-action="restore"]').click()
    expect(row.locator(".state")).to_have_text("Indexed")


def test_chunks_of_a_document_are_shown(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    visitor.open_lore()
    visitor.page.get_by_role("button", name="Harbour").click()
    expect(visitor.page.locator("#preview h3")).to_have_text("Chunks of Harbour")
    expect(visitor.page.locator("#preview blockquote")).to_contain_text("The ferry Heron crosses the bay")


def test_the_search_shows_scores_and_ranks(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    visitor.open_lore()
    visitor.page.locator("#search-box :is(input, textarea)").fill("ferry in the morning")
    visitor.page.keyboard.press("Enter")
    first = visitor.page.locator("#found .passage").first
    expect(first.locator(".where")).to_contain_text("Harbour")
    expect(first.locator(".score")).to_have_text("1.00")
    first.locator("summary").click()
    expect(first.locator(".from")).to_contain_text("words #1")
    expect(first.locator("blockquote mark").filter(has_text="ferry")).to_have_count(1)


def test_the_table_can_be_filtered(start, visit):
    visitor = visit(start(ServicesWith(ScriptedChatModel())))
    visitor.open_lore()
    visitor.page.locator("#table .filter").fill("HARB")
    expect(visitor.page.locator("#table tbody tr:visible")).to_have_count(1)


class TestWithoutLore:
    @pytest.fixture
    def lore(self):
        return {}

    def test_a_persona_without_documents_can_be_talked_with(self, start, visit):
        visitor = visit(start(ServicesWith(ScriptedChatModel(replies=("Hello.",)))))
        expect(visitor.page.locator(".readiness")).to_have_text("No lore yet")
        visitor.ask("Hello")
        assert visitor.answers() == ["Hello."]
        expect(visitor.page.locator(".sources")).to_have_count(0)
