"""What the API counts, for Prometheus."""

import time
from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.05, 0.1, 0.25, 0.5, 1, 2, 4, 8, 15, 30, 60, 120, 300)
_OURS = "elysia_chat_"
_ELSEWHERE = "other"
# nginx's number for a client that has gone before it was answered.
_LEFT = 499


class Metrics:
    """The counters of one API.

    Attributes:
        requests: answered requests by address and status.
        request_seconds: how long they took, until their last byte.
        refused: requests that were not taken, by reason.
        answers: answers by how they ended: stop, length, left (the client went away), refused, failed.
        first_token_seconds: from the request to the first token, waiting included.
        tokens: of prompts and of answers.
        spoken_seconds: seconds of sound.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        registry = self.registry
        self.requests = Counter(
            f"{_OURS}requests", "Requests that were answered.", ["path", "status"], registry=registry
        )
        self.request_seconds = Histogram(
            f"{_OURS}request_seconds",
            "Seconds from a request to its last byte.",
            ["path"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.refused = Counter(
            f"{_OURS}refused", "Requests that were not taken, by reason.", ["reason"], registry=registry
        )
        self.answers = Counter(f"{_OURS}answers", "Answers by how they ended.", ["outcome"], registry=registry)
        self.first_token_seconds = Histogram(
            f"{_OURS}first_token_seconds",
            "Seconds from a request to the first token.",
            buckets=_SECONDS,
            registry=registry,
        )
        self.tokens = Counter(f"{_OURS}tokens", "Tokens of prompts and of answers.", ["kind"], registry=registry)
        self.spoken_seconds = Counter(f"{_OURS}spoken_seconds", "Seconds of sound.", registry=registry)
        self._running = Gauge(f"{_OURS}running", "Requests that are being computed.", ["work"], registry=registry)
        self._waiting = Gauge(f"{_OURS}waiting", "Requests that wait for their turn.", ["work"], registry=registry)

    def watch(self, work: str, running: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Show how many requests for a kind of work are computed and wait."""
        self._running.labels(work).set_function(running)
        self._waiting.labels(work).set_function(waiting)

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return all figures, and their content type, in the best format that an `Accept` header asks for."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class Observer:
    """ASGI middleware that counts requests.

    Args:
        app: the application behind it.
        metrics: where they are counted.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it when it has been answered."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), _LEFT

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_look)
        finally:
            # The route's own path, not the one that was asked for: of those there is no end.
            path = getattr(scope.get("route"), "path", _ELSEWHERE)
            self._metrics.requests.labels(path, status).inc()
            self._metrics.request_seconds.labels(path).observe(time.perf_counter() - began)
