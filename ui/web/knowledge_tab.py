"""The lore: its documents, uploading, ingesting, removing, looking into them, and trying the search."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gradio as gr

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.web.header import Header
from elysia_chat.ui.web.ingest_runs import Ticket
from elysia_chat.ui.web.knowledge import (
    MAX_PREVIEW_CHUNKS,
    chunks_html,
    document_rows,
    found_html,
    run_html,
    table_html,
)
from elysia_chat.ui.web.markup import escape
from elysia_chat.ui.web.sessions import Session
from elysia_chat.ui.web.state import DELEGATE_CLICKS, QUIET, PageState, clicked
from elysia_chat.ui.web.texts import ZH

_FOUND = 6
_WATCHERS = 20


class KnowledgeTab:
    """Builds the tab.

    Args:
        page: the state of the page.
        header: shows how many documents there are.
    """

    def __init__(self, page: PageState, header: Header) -> None:
        from elysia_chat.ingest.loaders import SUPPORTED

        self._page = page
        self._header = header
        with gr.Row(elem_id="lore"):
            with gr.Column(elem_id="documents", scale=3, min_width=320):
                self.intro = gr.HTML(apply_default_css=False)
                with gr.Row(elem_id="lore-buttons"):
                    self.upload = gr.UploadButton(
                        ZH.upload, file_count="multiple", file_types=list(SUPPORTED), elem_id="upload",
                        variant="primary", size="sm",
                    )  # fmt: skip
                    self.ingest = gr.Button(ZH.ingest, elem_id="ingest", size="sm")
                self.report = gr.HTML(elem_id="report", apply_default_css=False)
                self.table = gr.HTML(elem_id="table", js_on_load=DELEGATE_CLICKS, apply_default_css=False)
            with gr.Column(elem_id="look", scale=2, min_width=300):
                self.search_title = gr.HTML(apply_default_css=False)
                with gr.Row(elem_id="search-row"):
                    self.question = gr.Textbox(show_label=False, container=False, elem_id="search-box", scale=4)
                    self.search = gr.Button(ZH.search_run, size="sm", elem_id="search", scale=1, min_width=72)
                self.found = gr.HTML(elem_id="found", apply_default_css=False)
                self.preview = gr.HTML(elem_id="preview", apply_default_css=False)

    @property
    def outputs(self) -> list[Any]:
        """Components that `values` fills."""
        return [
            self.intro, self.upload, self.ingest, self.report, self.table, self.search_title, self.question,
            self.search, self.found, self.preview,
        ]  # fmt: skip

    def values(self, session: Session) -> list[Any]:
        """Return what a session shows."""
        texts = self._page.texts(session)
        return [
            f'<div class="lore-title"><h2>{escape(texts.documents)}</h2><p>{escape(texts.documents_info)}</p></div>',
            gr.update(label=texts.upload),
            gr.update(value=texts.ingest),
            run_html(self._page.runs.current(session.persona), texts),
            self.rows(session),
            f'<div class="lore-title"><h2>{escape(texts.search)}</h2></div>',
            gr.update(placeholder=texts.search_placeholder, label=texts.search_placeholder),
            gr.update(value=texts.search_run),
            "",
            "",
        ]

    def wire(self) -> None:
        """Connect the events."""
        watched = [self.report, self.table, self._header.line]
        run = {"concurrency_id": "ingest", "concurrency_limit": _WATCHERS, **QUIET}
        self.upload.upload(self._upload, self.upload, [*watched, self.upload], **run)
        self.ingest.click(self._ingest, None, watched, **run)
        self.table.click(self._act, None, [*watched, self.preview], **run)
        gr.on(
            [self.search.click, self.question.submit], self._search, self.question, self.found,
            concurrency_id="search", concurrency_limit=4, **QUIET,
        )  # fmt: skip

    def rows(self, session: Session) -> str:
        """Return the table of documents."""
        return table_html(document_rows(self._page.services, session.persona), self._page.texts(session))

    def _upload(self, request: gr.Request, files: list[str] | None) -> Iterator[list[Any]]:
        session = self._page.session(request)
        ticket = self._page.runs.request(session.persona, [Path(file) for file in files or []])
        for shown in self._follow(ticket, session):
            yield [*shown, gr.update(value=None)]

    def _ingest(self, request: gr.Request) -> Iterator[list[Any]]:
        session = self._page.session(request)
        yield from self._follow(self._page.runs.request(session.persona), session)

    def _act(self, request: gr.Request, event: gr.EventData) -> Iterator[list[Any]]:
        """Do what the pressed button in the table says."""
        session = self._page.session(request)
        action, path = clicked(event)
        nothing = [gr.skip(), gr.skip(), gr.skip()]
        try:
            if action == "preview":
                yield [*nothing, self._chunks(session, path)]
            elif action in ("delete", "restore"):
                persona = self._page.services.persona(session.persona)
                if action == "delete":
                    persona.remove_document(path)
                else:
                    persona.restore_document(path)
                for shown in self._follow(self._page.runs.request(session.persona), session):
                    yield [*shown, ""]
        except ElysiaChatError as error:
            yield [_notice(str(error)), self.rows(session), gr.skip(), gr.skip()]

    def _follow(self, ticket: Ticket, session: Session) -> Iterator[list[Any]]:
        """Show how far an ingest is, and at its end the new table."""
        texts = self._page.texts(session)
        for state in ticket.follow():
            if state.done:
                yield [run_html(state, texts), self.rows(session), self._header.html(session)]
            else:
                yield [run_html(state, texts), gr.skip(), gr.skip()]

    def _search(self, request: gr.Request, question: str) -> str:
        session = self._page.session(request)
        if not (question or "").strip():
            return ""
        try:
            passages = self._page.services.search(question, k=_FOUND, persona=session.persona, evidence=False)
        except ElysiaChatError as error:
            return _notice(str(error))
        return found_html(question, passages, self._page.texts(session))

    def _chunks(self, session: Session, path: str) -> str:
        rows = {row.path: row for row in document_rows(self._page.services, session.persona)}
        if path not in rows:
            return ""
        count = min(rows[path].chunks, MAX_PREVIEW_CHUNKS)
        chunks = self._page.services.knowledge_base(session.persona).passages_at(path, range(count)) if count else []
        return chunks_html(rows[path].title, chunks, self._page.texts(session))


def _notice(text: str) -> str:
    return f'<p class="notice" role="status">{escape(text)}</p>'
