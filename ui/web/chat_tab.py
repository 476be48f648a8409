"""The chat: transcript, box, and what happens when something is said, stopped, retried, taken back or edited.

A message is answered in three steps. `begin` takes it at once, `stream` waits for its turn at the model, `finish`
settles it whatever happened in between.
"""

from collections.abc import Iterator
from time import monotonic
from typing import Any

import gradio as gr

from elysia_chat.chains.errors import MessageError
from elysia_chat.chains.prompt import clean_message
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.web.answering import answer_pending
from elysia_chat.ui.web.drawer import Drawer, read_controls
from elysia_chat.ui.web.options import reply_options
from elysia_chat.ui.web.sessions import Session
from elysia_chat.ui.web.state import DELEGATE_CLICKS, QUIET, PageState, clicked
from elysia_chat.ui.web.texts import ZH
from elysia_chat.ui.web.transcript import editing_html, history_html, live_html

_FRAME_SECONDS = 0.06
# A model on this machine answers one message at a time; a second one may search meanwhile.
_TURNS_LOCAL = 2
_TURNS_REMOTE = 16


class ChatTab:
    """Builds the chat.

    Args:
        page: the state of the page.
    """

    def __init__(self, page: PageState) -> None:
        self._page = page
        local = page.services.settings.model.kind in ("embedded", "transformers")
        self._turns = _TURNS_LOCAL if local else _TURNS_REMOTE
        with gr.Column(elem_id="chat"):
            self.history = gr.HTML(elem_id="history", js_on_load=DELEGATE_CLICKS, apply_default_css=False)
            self.live = gr.HTML(elem_id="live", apply_default_css=False)
        with gr.Column(elem_id="composer"):
            self.editing = gr.HTML(elem_id="editing", js_on_load=DELEGATE_CLICKS, apply_default_css=False)
            with gr.Row(elem_id="box-row"):
                self.box = gr.Textbox(elem_id="box", show_label=False, label="", lines=1, max_lines=8, container=False)
                self.send = gr.Button(ZH.send, elem_id="send", variant="primary", min_width=44, scale=0)
                self.stop = gr.Button(ZH.stop, elem_id="stop", min_width=44, scale=0)
            self.hint = gr.HTML(elem_id="hint", apply_default_css=False)

    @property
    def outputs(self) -> list[Any]:
        """Components that `values` fills."""
        return [self.history, self.live, self.editing, self.box, self.send, self.stop, self.hint]

    def values(self, session: Session) -> list[Any]:
        """Return what a session shows."""
        texts = self._page.texts(session)
        name = self._page.card(session).name
        return [
            self._history(session),
            live_html(session.visible_pending, texts),
            editing_html(session),
            gr.update(placeholder=texts.placeholder.format(name=name), label=texts.placeholder.format(name=name)),
            gr.update(value=texts.send),
            gr.update(value=texts.stop),
            f"<p>{texts.hint}</p>",
        ]

    def wire(self, drawer: Drawer) -> None:
        """Connect the events."""
        changed = [self.history, self.live, self.editing, self.box]
        said = [self.box, *drawer.controls]
        begun = [
            gr.on([self.box.submit, self.send.click], self._begin, said, changed, queue=False, **QUIET),
            self.history.click(self._act, said, changed, queue=False, **QUIET),
        ]
        for event in begun:
            streamed = event.then(
                self._stream, None, self.live, concurrency_limit=self._turns, concurrency_id="model", **QUIET
            )
            # Gradio's pages run what comes after `then` only where nothing has failed.
            streamed.then(self._finish, self.box, changed, queue=False, **QUIET)
            streamed.failure(self._finish_failed, self.box, changed, queue=False, **QUIET)
        self.editing.click(self._cancel_edit, None, [self.editing, self.box], queue=False, **QUIET)
        self.stop.click(self._stop, None, None, queue=False, **QUIET)

    def _begin(self, request: gr.Request, text: str, *values: Any) -> list[Any]:
        session = self._page.session(request)
        return self._take(session, text or "", values, session.editing)

    def _act(self, request: gr.Request, event: gr.EventData, text: str, *values: Any) -> list[Any]:
        """Do what the pressed button in the transcript says."""
        session = self._page.session(request)
        action, value = clicked(event)
        if session.pending is not None:
            return _nothing()
        last = len(session.exchanges) - 1
        if action == "ask":
            return self._take(session, value, values)
        if action == "retry" and last >= 0:
            return self._take(session, session.exchanges[last].question, values, last, again=True)
        if action == "undo" and (gone := session.undo()) is not None:
            return self._show(session, box=text or gone.question)
        if action == "edit" and value.isdecimal() and int(value) <= last:
            session.editing = int(value)
            return self._show(session, box=session.exchanges[session.editing].question)
        return _nothing()

    def _take(
        self, session: Session, text: str, values: tuple[Any, ...], position: int | None = None, *, again: bool = False
    ) -> list[Any]:
        """Accept a message, or say in one line why not and leave it in the box."""
        settings = self._page.services.settings
        if session.pending is not None:
            return _nothing()
        if self._page.sessions.waiting() >= settings.server.sessions + self._turns:
            session.notice = self._page.texts(session).queue_full
            return self._show(session, box=text)
        try:
            question = clean_message(text, settings.chat.max_message_chars)
            session.begin(question, reply_options(settings, read_controls(values), again=again), position)
        except MessageError:
            session.notice = self._refusal(session, text)
            return self._show(session)
        except ElysiaChatError as error:
            session.notice = str(error)
            return self._show(session)
        return self._show(session, box="" if not again else None)

    def _refusal(self, session: Session, text: str) -> str:
        texts, limit = self._page.texts(session), self._page.services.settings.chat.max_message_chars
        if len(text) > limit:
            return texts.long_message.format(length=len(text), limit=limit)
        return texts.empty_message

    def _stream(self, request: gr.Request) -> Iterator[str]:
        """Show the answer while it is written, a few times a second."""
        session = self._page.session(request)
        texts = self._page.texts(session)
        answers = answer_pending(self._page.services, session)
        shown = 0.0
        try:
            for pending in answers:
                now = monotonic()
                if now - shown >= _FRAME_SECONDS and pending is session.visible_pending:
                    shown = now
                    yield live_html(pending, texts)
        finally:
            answers.close()
            if session.closed:
                session.finish()

    def _finish(self, request: gr.Request, text: str) -> list[Any]:
        """Settle what has been answered.

        Each press of a button comes through here in the end, whether it began something or not: what another one has
        begun meanwhile is left alone.
        """
        session = self._page.session(request)
        if session.pending is not None and not session.pending.ended:
            return _nothing()
        return self._settle(session, text)

    def _finish_failed(self, request: gr.Request, text: str) -> list[Any]:
        """Settle what broke off, or never got its turn."""
        session = self._page.session(request)
        if session.pending is not None and session.pending.started and not session.pending.ended:
            return _nothing()
        return self._settle(session, text)

    def _settle(self, session: Session, text: str) -> list[Any]:
        """Put what was pending into the chat; a message that got no answer goes back into the box."""
        pending = session.finish()
        if pending is None:
            return self._show(session)
        texts = self._page.texts(session)
        session.notice = pending.error
        answered = any(answer.text.strip() for answer in pending.answers)
        if not answered and not pending.stop.is_set() and not pending.error:
            session.notice = texts.interrupted
        restored = pending.question if not answered and not text and not pending.dropped else None
        return self._show(session, box=restored)

    def _cancel_edit(self, request: gr.Request) -> list[Any]:
        session = self._page.session(request)
        session.editing = None
        return ["", ""]

    def _stop(self, request: gr.Request) -> None:
        self._page.session(request).stop()

    def _show(self, session: Session, box: str | None = None) -> list[Any]:
        texts = self._page.texts(session)
        ahead = max(0, self._page.sessions.waiting() - self._turns)
        return [
            self._history(session),
            live_html(session.visible_pending, texts, ahead),
            editing_html(session),
            gr.skip() if box is None else gr.update(value=box),
        ]

    def _history(self, session: Session) -> str:
        card = self._page.card(session)
        return history_html(session, card.name, card.greeting, card.examples)


def _nothing() -> list[Any]:
    return [gr.skip()] * 4
