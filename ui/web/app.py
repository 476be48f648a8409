"""Puts the page together."""

import json
from collections.abc import Callable
from typing import Any

import gradio as gr

from elysia_chat.ui.services import Services
from elysia_chat.ui.web.answering import speak_again
from elysia_chat.ui.web.chat_tab import ChatTab
from elysia_chat.ui.web.drawer import Drawer
from elysia_chat.ui.web.export import as_json, as_markdown, file_name
from elysia_chat.ui.web.header import Header
from elysia_chat.ui.web.ingest_runs import IngestRuns
from elysia_chat.ui.web.knowledge_tab import KnowledgeTab
from elysia_chat.ui.web.sessions import Session, Sessions
from elysia_chat.ui.web.speech import SpokenReply, speech_routes
from elysia_chat.ui.web.state import QUIET, PageState, clicked, session_key
from elysia_chat.ui.web.texts import ZH
from elysia_chat.ui.web.warmup import Warmup

_CLEAN_SECONDS = 3600
_CONCURRENT = 8
# The chat itself refuses more messages than there are sessions; this bounds everything else that may wait.
_EVENTS_PER_SESSION = 4


class Page:
    """The whole page over one set of services.

    Args:
        services: everything behind it.
    """

    def __init__(self, services: Services) -> None:
        runs = IngestRuns(services)
        self.state = PageState(services, Sessions(), runs, Warmup(services, runs))
        with gr.Blocks(
            title="Elysia Chat",
            analytics_enabled=False,
            fill_width=True,
            delete_cache=(_CLEAN_SECONDS, _CLEAN_SECONDS),
        ) as self.blocks:
            self._header = Header(self.state)
            with gr.Tabs(elem_id="tabs"):
                with gr.Tab(ZH.chat, id="chat", elem_id="chat-tab") as self._chat_label:
                    self._chat = ChatTab(self.state)
                with gr.Tab(ZH.lore, id="lore", elem_id="lore-tab") as self._lore_label:
                    self._lore = KnowledgeTab(self.state, self._header)
            self._drawer = Drawer(self.state)
            self._download = gr.Textbox(visible="hidden", elem_id="download", label="download")
            self._wire()
        self.blocks.queue(
            max_size=_EVENTS_PER_SESSION * services.settings.server.sessions,
            api_open=False,
            default_concurrency_limit=_CONCURRENT,
        )

    def routes(self) -> list[Any]:
        """Return the addresses of the server that are not Gradio's: from where the page gets its sounds."""
        return speech_routes(self.state.sessions, self._replay)

    def _replay(self, token: str, exchange: int, answer: int) -> SpokenReply | None:
        session = self.state.sessions.by_voice(token)
        if session is None or not self.state.services.settings.voice.enabled:
            return None
        return speak_again(self.state.services, session, exchange, answer)

    def _wire(self) -> None:
        everything = [
            *self._header.outputs, *self._chat.outputs, *self._lore.outputs, *self._drawer.outputs, self._chat_label,
            self._lore_label,
        ]  # fmt: skip
        self._chat.wire(self._drawer)
        self._lore.wire()
        self._drawer.wire()
        self.blocks.load(self._load, None, everything, queue=False, js="() => { elysia.start(); }", **QUIET)
        self.blocks.load(None, None, self._drawer.volume, js="() => elysiaVoice.start()", **QUIET)
        self.blocks.unload(self._unload)
        self._drawer.language.input(self._speak, self._drawer.language, everything, queue=False, **QUIET)
        self._drawer.persona.input(None, None, None, js="() => { elysiaVoice.hush(); }", **QUIET)
        self._drawer.persona.input(self._meet, self._drawer.persona, everything, queue=False, **QUIET)
        self._header.line.click(self._act, None, everything, queue=False, **QUIET)
        self._header.timer.tick(
            self._tick, None, [self._header.line, self._lore.table, self._header.timer], queue=False, **QUIET
        )
        for button, write, extension in (
            (self._drawer.as_markdown, as_markdown, "md"),
            (self._drawer.as_json, as_json, "json"),
        ):
            button.click(self._exporter(write, extension), None, self._download, queue=False, **QUIET).then(
                None, self._download, None, js="(file) => { elysia.download(file); }", **QUIET
            )

    def _everything(self, session: Session) -> list[Any]:
        texts = self.state.texts(session)
        return [
            *self._header.values(session), *self._chat.values(session), *self._lore.values(session),
            *self._drawer.values(session), gr.update(label=texts.chat), gr.update(label=texts.lore),
        ]  # fmt: skip

    def _load(self, request: gr.Request) -> list[Any]:
        return self._everything(self.state.session(request))

    def _unload(self, request: gr.Request) -> None:
        """Stop a reply that nobody reads any more."""
        session = self.state.sessions.find(session_key(request))
        if session is not None:
            session.leave()

    def _speak(self, request: gr.Request, language: str) -> list[Any]:
        session = self.state.session(request)
        session.language = "en" if language == "en" else "zh"
        return self._everything(session)

    def _meet(self, request: gr.Request, persona: str) -> list[Any]:
        session = self.state.session(request)
        session.stop()
        session.persona = self.state.services.persona(persona).name
        session.editing, session.notice = None, ""
        return self._everything(session)

    def _act(self, request: gr.Request, event: gr.EventData) -> list[Any]:
        session = self.state.session(request)
        action, _ = clicked(event)
        if action == "new-chat":
            session.clear()
        return self._everything(session)

    def _tick(self, request: gr.Request) -> list[Any]:
        """Keep the header up to date while things are being prepared."""
        session = self.state.session(request)
        if not self._header.is_settled(session):
            return [self._header.html(session), gr.skip(), gr.skip()]
        return [self._header.html(session), self._lore.rows(session), gr.update(active=False)]

    def _exporter(self, write: Callable[[Session, str], str], extension: str) -> Callable[[gr.Request], str]:
        def export(request: gr.Request) -> str:
            session = self.state.session(request)
            text = write(session, self.state.card(session).name)
            return json.dumps({"name": file_name(session, extension), "text": text})

        return export
