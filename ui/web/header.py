"""The line at the top: who one talks with, how ready she is, and the two buttons that are always needed."""

from typing import Any

import gradio as gr

from elysia_chat.ui.web.icons import icon
from elysia_chat.ui.web.markup import escape
from elysia_chat.ui.web.portrait import portrait_uri
from elysia_chat.ui.web.sessions import Session
from elysia_chat.ui.web.speech import PATH
from elysia_chat.ui.web.state import DELEGATE_CLICKS, PageState
from elysia_chat.ui.web.texts import Texts

_LANGUAGE_TAGS = {"zh": "zh-CN", "en": "en"}


class Header:
    """Builds the header.

    Args:
        page: the state of the page.
    """

    def __init__(self, page: PageState) -> None:
        self._page = page
        self.portrait = gr.HTML(elem_id="portrait-style", apply_default_css=False)
        self.line = gr.HTML(elem_id="header", js_on_load=DELEGATE_CLICKS, apply_default_css=False)
        self.timer = gr.Timer(1.0)

    @property
    def outputs(self) -> list[Any]:
        """Components that `values` fills."""
        return [self.portrait, self.line]

    def values(self, session: Session) -> list[Any]:
        """Return what a session shows."""
        picture = portrait_uri(self._page.services.persona(session.persona).picture)
        style = f'<style>:root{{--portrait:url("{picture}")}}</style>' if picture else ""
        return [style, self.html(session)]

    def html(self, session: Session) -> str:
        """Return the line."""
        texts = self._page.texts(session)
        name = self._page.card(session).name
        speaks = self._page.services.settings.voice.enabled
        voice = f' data-voice="{PATH}/{session.voice.token}"' if speaks else ""
        mute = _button("sound", texts.mute, "data-client") if speaks else ""
        return (
            f'<header lang="{_LANGUAGE_TAGS[session.language]}"{voice}><span class="avatar"></span>'
            f'<div class="who"><strong>{escape(name)}</strong>{self._status(session, texts)}</div>'
            f"<nav>{mute}{_button('new-chat', texts.new_chat)}{_button('settings', texts.settings)}</nav></header>"
            f"{self._error()}"
        )

    def is_settled(self, session: Session) -> bool:
        """Whether nothing is being prepared any more."""
        return self._page.warmup.state.stage == "ready" and self._page.runs.current(session.persona) is None

    def _status(self, session: Session, texts: Texts) -> str:
        run = self._page.runs.current(session.persona)
        if run is not None and not run.done:
            progress = run.progress
            done, total = (progress.done, progress.total) if progress else (0, 0)
            text = texts.preparing_lore.format(done=done, total=total) if total else texts.waking
            return f'<span class="readiness busy">{escape(text)}</span>'
        if self._page.warmup.state.stage != "ready":
            return f'<span class="readiness busy">{escape(texts.waking)}</span>'
        count = sum(state.chunks > 0 for state in self._page.services.documents(session.persona))
        if not count:
            return f'<span class="readiness">{escape(texts.no_lore)}</span>'
        more = f'<span class="more">{escape(texts.ready_more)}</span>'
        return f'<span class="readiness">{escape(texts.ready.format(documents=count))}{more}</span>'

    def _error(self) -> str:
        error = self._page.warmup.state.error
        return f'<p class="notice" role="status">{escape(error)}</p>' if error else ""


def _button(action: str, label: str, attribute: str = "data-action") -> str:
    return (
        f'<button type="button" class="tool" {attribute}="{action}" title="{escape(label)}" '
        f'aria-label="{escape(label)}">{icon(action)}</button>'
    )
