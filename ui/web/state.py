"""What all parts of the page share: the services, the open sessions, and the work behind the page."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import gradio as gr

from elysia_chat.ui.services import Services
from elysia_chat.ui.web.ingest_runs import IngestRuns
from elysia_chat.ui.web.sessions import Session, Sessions
from elysia_chat.ui.web.texts import TEXTS, Texts, preferred_language
from elysia_chat.ui.web.warmup import Warmup

if TYPE_CHECKING:
    from elysia_chat.kb.card import LocalizedCard

DELEGATE_CLICKS = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('[data-action]');
  if (button && element.contains(button)) {
    trigger('click', { action: button.dataset.action, value: button.dataset.value || '' });
  }
});
"""
"""Sends `data-action` and `data-value` of a pressed button to the server."""

QUIET = {"show_progress": "hidden", "api_visibility": "private"}
"""For every event: no overlay while it runs, and no endpoint for other programs."""


@dataclass(frozen=True)
class PageState:
    """One for the whole server."""

    services: Services
    sessions: Sessions
    runs: IngestRuns
    warmup: Warmup

    def session(self, request: gr.Request) -> Session:
        """Return the session of the page that a request comes from."""
        settings = self.services.settings

        def make() -> Session:
            asked = settings.language
            if asked == "auto":
                asked = preferred_language(request.headers.get("accept-language", ""))
            return Session(asked, settings.persona, settings.voice.speed)

        return self.sessions.get(session_key(request), make)

    def texts(self, session: Session) -> Texts:
        """Return the interface in a session's language."""
        return TEXTS[session.language]

    def card(self, session: Session) -> "LocalizedCard":
        """Return the persona of a session in the interface's language."""
        return self.services.persona(session.persona).card.localized(session.language)


def session_key(request: gr.Request) -> str:
    """Return what tells one open page from another."""
    return f"{request.username or ''}\n{request.session_hash}"


def clicked(event: gr.EventData) -> tuple[str, str]:
    """Return action and value of a pressed button; whatever a browser sends becomes two texts."""
    data = event._data if isinstance(event._data, dict) else {}
    return str(data.get("action", "")), str(data.get("value", ""))
