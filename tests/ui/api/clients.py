"""What the tests of the API share."""

import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

QUESTION = "Where does Violet grow moonflowers?"
PATIENCE_S = 20.0


def wait_until_ready(url: str) -> str:
    """Return the address when lore and model are ready."""

    def ready() -> bool:
        try:
            return bool(fetch(f"{url}ready"))
        except urllib.error.HTTPError as not_yet:
            not_yet.close()
            return False

    wait_until(ready)
    return url


def fetch(url: str) -> str:
    """Return what is at an address; without an HTTP client, of which each takes a while to make."""
    with urllib.request.urlopen(url, timeout=PATIENCE_S) as response:
        return str(response.read(), "utf-8")


def wait_until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def user(*texts: str) -> list[dict[str, str]]:
    """Return messages of user and assistant in turn."""
    return [{"role": ("user", "assistant")[place % 2], "content": text} for place, text in enumerate(texts)]


def body(text: str = QUESTION, **fields: Any) -> dict[str, Any]:
    """Return the body of a request for an answer."""
    return {"model": "violet", "messages": user(text), **fields}


def metric(url: str, line: str) -> float:
    """Return one figure of the metrics; 0 where it is not there yet."""
    figures = (found.rpartition(" ") for found in fetch(f"{url}metrics").splitlines())
    return next((float(value) for name, _, value in figures if name == line), 0.0)
