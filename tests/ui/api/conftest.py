"""A really running server on loopback, on fakes, and the clients that people use."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.api.launch import serve
from elysia_chat.ui.services import Services
from tests.ui.web.parts import ServicesWith, make_persona

from .clients import wait_until_ready

Start = Callable[..., str]
REPLY = "Behind the old observatory [1]. They open at night."


@pytest.fixture
def start(data_folder: Path) -> Iterator[Start]:
    """Serve until the test ends; gives the address."""
    make_persona()
    with ExitStack() as stack:

        def go(services: Services, *, page: bool = False) -> str:
            stack.callback(services.close)
            return wait_until_ready(stack.enter_context(serve(services, page=page)))

        yield go


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel(replies=(REPLY,))


@pytest.fixture
def url(start: Start, model: ScriptedChatModel) -> str:
    """The address of an API whose persona says one thing."""
    return start(ServicesWith(model))


@pytest.fixture
def http(url: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url) as client:
        yield client


@pytest.fixture
def connect() -> Iterator[Callable[..., openai.OpenAI]]:
    """Connect the official client to an address."""
    with ExitStack() as stack:

        def go(url: str, **options: Any) -> openai.OpenAI:
            usual = {"base_url": f"{url}v1", "api_key": "none", "max_retries": 0}
            return stack.enter_context(openai.OpenAI(**{**usual, **options}))

        yield go


@pytest.fixture
def client(url: str, connect: Callable[..., openai.OpenAI]) -> openai.OpenAI:
    return connect(url)


@pytest.fixture
def connect_async() -> Callable[[str], openai.AsyncOpenAI]:
    """Connect the official client for event loops to an address."""
    return lambda url: openai.AsyncOpenAI(base_url=f"{url}v1", api_key="none", max_retries=0)
