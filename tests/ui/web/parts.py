"""What the tests of the page share: a small persona, services with a model of the test's own, and the open page."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk
from playwright.sync_api import Locator, Page, Response, expect

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.loader import load_settings
from elysia_chat.kb.personas import Persona, create_persona
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.services import Services

PATIENCE_MS = 30_000
LORE = {
    "violet.md": "# Violet\n\n## Garden\n\nViolet grows moonflowers behind the old observatory.\n",
    "harbour.md": "# Harbour\n\n## Ships\n\nThe ferry Heron crosses the bay every morning at six.\n",
}


class RecordingModel(ScriptedChatModel):
    """Remembers what it was asked with."""

    asked_with: list[dict[str, Any]] = []  # noqa: RUF012

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.asked_with.append(kwargs)
        yield from super()._stream(messages, stop, run_manager, **kwargs)


class EndlessModel(ScriptedChatModel):
    """Talks until it is stopped; `ended` tells that its computation is over."""

    ended: Any = None
    pieces: list[str] = []  # noqa: RUF012

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        pause = threading.Event()
        try:
            while True:
                pause.wait(0.02)
                self.pieces.append("la ")
                yield ChatGenerationChunk(message=AIMessageChunk("la "))
        finally:
            self.ended.set()


class ModelBrokenError(ElysiaChatError):
    """What a remote model does when its server is gone."""


class FailingOnceModel(ScriptedChatModel):
    """Fails the first time."""

    failure: Any = ModelBrokenError("The model server does not answer: start it & try <again>.")
    failures: list[str] = []  # noqa: RUF012

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if not self.failures:
            self.failures.append("once")
            raise self.failure
        yield from super()._stream(messages, stop, run_manager, **kwargs)


class ServicesWith(Services):
    """Services whose model is the test's own."""

    def __init__(self, model: ScriptedChatModel, *overrides: str) -> None:
        super().__init__(load_settings(["fake"], ["persona=violet", "server.port=0", *overrides]))
        self._given = model

    @property
    def model(self) -> ScriptedChatModel:
        return self._given


def make_persona(lore: dict[str, str] | None = None) -> Persona:
    """Write the persona that the tests talk with."""
    persona = create_persona("Violet")
    persona.remove_document("violet.md")
    for name, text in (LORE if lore is None else lore).items():
        persona.add_document(name, text.encode())
    return persona


class Visitor:
    """Somebody with the page open."""

    def __init__(self, page: Page) -> None:
        self.page = page

    def write(self, text: str) -> None:
        self.page.locator("#box textarea").fill(text)
        self.page.keyboard.press("Enter")

    def ask(self, text: str) -> None:
        before = self.page.locator("#history .exchange .replies").count()
        self.write(text)
        expect(self.page.locator("#history .exchange .replies")).to_have_count(before + 1)

    def wait_until_settled(self) -> None:
        expect(self.page.locator("#live .answering")).to_have_count(0)

    @contextmanager
    def server_takes(self, data: str) -> Iterator[None]:
        """Wait until the server has taken what is chosen in the block; `data`: how it is sent."""

        def takes(response: Response) -> bool:
            return f'"data":{data}' in (response.request.post_data or "")

        with self.page.expect_response(takes):
            yield

    def questions(self) -> list[str]:
        return self.page.locator("#history .mine .bubble").all_inner_texts()

    def answers(self) -> list[str]:
        return self.page.locator("#history .exchange .reply .text").all_inner_texts()

    def press(self, action: str) -> None:
        self.page.locator(f'[data-action="{action}"]').last.click()

    def begin_new_chat(self) -> None:
        self.press("new-chat")
        expect(self.page.locator(".greeting.fresh")).to_be_visible()

    def open_lore(self) -> None:
        self.page.get_by_role("tab").nth(1).click()
        expect(self.page.locator("#table")).to_be_visible()

    def open_chat(self) -> None:
        self.page.get_by_role("tab").nth(0).click()

    def open_settings(self) -> None:
        self.page.locator('[data-action="settings"]').click()
        expect(self.page.locator("#drawer")).to_be_visible()

    def choose(self, value: str) -> None:
        self.page.locator(f'#drawer label:has(input[value="{value}"])').click()

    def seed(self) -> Locator:
        """Return the field by its label: an opened group gets its labels late, and its values once more with them."""
        return self.page.get_by_role("textbox", name="Seed")

    def box(self) -> str:
        return self.page.locator("#box textarea").input_value()
