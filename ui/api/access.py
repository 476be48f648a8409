"""Who may call the API, and how often."""

import hashlib
import hmac
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from elysia_chat.configs.settings import LOOPBACK, ApiSettings
from elysia_chat.ui.api.errors import (
    HostRefusedError,
    RequestRefusedError,
    TokenRefusedError,
    TokensFileError,
    TooManyRequestsError,
)
from elysia_chat.ui.api.metrics import Metrics
from elysia_chat.ui.api.problems import problem_response

_SCHEME = "bearer"
_SHOWN_TO_ALL = ("/health", "/ready", "/docs", "/openapi.json")


class Tokens:
    """The tokens that are accepted. Only their hashes are kept.

    Args:
        tokens: as clients send them.
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self._hashes = [_hash(token) for token in tokens]

    def __bool__(self) -> bool:
        return bool(self._hashes)

    def find(self, given: str) -> int | None:
        """Return the number of a token, None for an unknown one. It takes equally long for every one."""
        hashed, found = _hash(given), None
        for number, known in enumerate(self._hashes):
            if hmac.compare_digest(hashed, known):
                found = number
        return found


def read_tokens(settings: ApiSettings) -> Tokens:
    """Return the tokens of the settings and of their file.

    Raises:
        TokensFileError: the file cannot be read, or holds no token.
    """
    tokens = [token.get_secret_value() for token in settings.tokens]
    if settings.tokens_file is not None:
        tokens += _from_file(Path(settings.tokens_file).expanduser())
    return Tokens(tokens)


class Gate:
    """ASGI middleware that lets nobody in without a token, where there are any, nor more often than allowed.

    Args:
        app: the application behind it.
        tokens: without any, requests must be addressed to this machine's own name instead.
        requests_per_minute: of one token or address; 0 is no limit.
        metrics: told of whom it turns away.
    """

    def __init__(self, app: ASGIApp, tokens: Tokens, requests_per_minute: int, metrics: Metrics) -> None:
        self._app = app
        self._tokens = tokens
        self._metrics = metrics
        self._limit = RateLimitItemPerMinute(requests_per_minute) if requests_per_minute else None
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with the reason why not."""
        if scope["type"] == "http" and scope["path"] not in _SHOWN_TO_ALL:
            try:
                self._count(self._identify(scope))
            except RequestRefusedError as error:
                self._metrics.refused.labels(error.code).inc()
                await problem_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _identify(self, scope: Scope) -> str:
        """Return whose request it is."""
        headers = Headers(scope=scope)
        address = f"address {scope['client'][0] if scope.get('client') else ''}"
        if not self._tokens:
            check_host(headers.get("host", ""))
            return address
        scheme, _, given = headers.get("authorization", "").partition(" ")
        number = self._tokens.find(given.strip()) if scheme.lower() == _SCHEME else None
        if number is not None:
            return f"token {number}"
        # Guessing is counted too.
        self._count(address)
        if not given.strip():
            msg = "This API needs a token: send the header 'Authorization: Bearer TOKEN' (the client's API key)."
        else:
            msg = "The token (the client's API key) is unknown here."
        raise TokenRefusedError(msg)

    def _count(self, client: str) -> None:
        if self._limit is None or self._limiter.hit(self._limit, client):
            return
        reset = self._limiter.get_window_stats(self._limit, client).reset_time
        seconds = max(1, math.ceil(reset - time.time()))
        msg = f"More than {self._limit.amount} requests in a minute: wait {seconds} s."
        raise TooManyRequestsError(msg, retry_after=seconds)


def check_host(host: str) -> None:
    """Refuse a request that was sent to another name than this machine's own.

    A web page whose name was made to point here (DNS rebinding) is read by the browser as its own server.

    Raises:
        HostRefusedError: the `Host` is not a loopback one.
    """
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if name not in LOOPBACK:
        msg = f"Without tokens only requests to {LOOPBACK[0]} are answered, not to '{host}': set api.tokens."
        raise HostRefusedError(msg)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _from_file(path: Path) -> Sequence[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        msg = f"Cannot read the tokens in {path} ({reason}): mend api.tokens_file."
        raise TokensFileError(msg) from error
    tokens = [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    if not tokens:
        msg = f"There is no token in {path}: write one a line, or unset api.tokens_file."
        raise TokensFileError(msg)
    return tokens
