"""Takes a request's body, up to a limit, and ends the answer when its client goes away."""

from collections.abc import Awaitable, Callable

import anyio
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elysia_chat.ui.api.errors import BodyTooLargeError
from elysia_chat.ui.api.metrics import Metrics
from elysia_chat.ui.api.problems import problem_response

_MEGABYTE = 1_000_000


class BodyLimit:
    """ASGI middleware that reads the whole body before the application begins, and cancels it on a disconnect.

    A computation is worth ending at once, also while it waits for its turn, and no framework looks at the connection
    before the first byte of a response.

    Args:
        app: the application behind it.
        max_body_mb: larger bodies are refused.
        metrics: told of what is refused.
    """

    def __init__(self, app: ASGIApp, max_body_mb: float, metrics: Metrics) -> None:
        self._app = app
        self._max_bytes = round(max_body_mb * _MEGABYTE)
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, unless its body is too large or its client leaves."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except BodyTooLargeError as error:
            self._metrics.refused.labels(error.code).inc()
            await problem_response(error)(scope, receive, send)
            return
        if body is not None:
            await _until_left(self._app, scope, body, receive, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, None where the client left before its end.

        Raises:
            BodyTooLargeError: it is too large, or says that it will be.
        """
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._max_bytes:
            raise self._too_large()
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._max_bytes:
                raise self._too_large()
            if not message.get("more_body", False):
                return bytes(body)

    def _too_large(self) -> BodyTooLargeError:
        msg = f"The request is larger than {self._max_bytes / _MEGABYTE:g} MB (api.max_body_mb)."
        return BodyTooLargeError(msg)


async def _until_left(app: ASGIApp, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
    left = anyio.Event()

    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            left.set()
            group.cancel_scope.cancel()

        group.start_soon(watch)
        await app(scope, _replay(body, left.wait), send)
        group.cancel_scope.cancel()


def _replay(body: bytes, left: Callable[[], Awaitable[None]]) -> Receive:
    """Return what gives a body that has been read, and then waits for the end of the connection."""
    given = False

    async def receive() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        await left()
        return {"type": "http.disconnect"}

    return receive
