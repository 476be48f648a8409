"""A real browser, one for all tests of the front ends: Playwright's synchronous calls allow no second one."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import Browser, Request, expect, sync_playwright

from tests.ui.web.parts import PATIENCE_MS, Visitor

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_LOCAL = ("http://127.0.0.1:", "data:", "blob:")


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        pytest.skip(f"no browser here: install Chromium (looked for {', '.join(_NAMES)})")
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=_ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """Open a page as somebody new; afterwards nothing may have left the machine, and nothing of a text may have run."""
    outside: list[str] = []
    ran: list[str] = []

    def watch(request: Request) -> None:
        if not request.url.startswith(_LOCAL):
            outside.append(request.url)

    with ExitStack() as stack:

        def go(url: str, *, wait: bool = True, **options: Any) -> Visitor:
            usual = {"locale": "en-GB", "viewport": {"width": 1200, "height": 800}, "reduced_motion": "reduce"}
            context = browser.new_context(**{**usual, **options})
            stack.callback(context.close)
            page = context.new_page()
            page.on("request", watch)
            page.on("pageerror", lambda error: ran.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (ran.append(f"dialog: {dialog.message}"), dialog.accept()))
            page.goto(url)
            if wait:
                page.wait_for_selector(".greeting", timeout=PATIENCE_MS)
                page.wait_for_selector(".readiness:not(.busy)", timeout=PATIENCE_MS)
            visitor = Visitor(page)
            visitor.ran = ran  # type: ignore[attr-defined]
            return visitor

        yield go
    assert outside == []
    assert [what for what in ran if not what.startswith("dialog: This is a document of your own")] == []
