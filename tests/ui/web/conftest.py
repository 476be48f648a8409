"""The page served for a test, on fakes."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from elysia_chat.ui.services import Services
from elysia_chat.ui.web.launch import serve

from .parts import make_persona


@pytest.fixture
def lore() -> dict[str, str] | None:
    """The persona's documents; None takes the usual ones."""
    return None


@pytest.fixture
def start(data_folder: Any, lore: dict[str, str] | None) -> Iterator[Callable[[Services], str]]:
    """Serve a page until the test ends; gives its address."""
    make_persona(lore)
    with ExitStack() as stack:

        def go(services: Services) -> str:
            stack.callback(services.close)
            return stack.enter_context(serve(services))

        yield go
