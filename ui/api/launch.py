"""Starts the API, with the page beside it or alone, and keeps it running. Importing this module loads no part of it."""

import socket
import threading
import time
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.settings import LOOPBACK, ServerSettings, Settings
from elysia_chat.ui.api.errors import UnprotectedAddressError
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.launch import listening_socket, page_application

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

_POLL_SECONDS = 0.01
_SECONDS_TO_FINISH = 3
# Longer than clients (5 s) and proxies (60 s) keep a connection: whoever closes first must not be the server, or a
# request that is under way then is lost.
_SECONDS_IDLE = 75
_SECONDS_TO_END = 10.0


def launch(services: Services, *, page: bool = True, ready: Callable[[str], None] | None = None) -> None:
    """Serve until it is interrupted.

    Args:
        services: everything behind it; where it listens is in their settings.
        page: whether the page is served as well.
        ready: called with the address once requests are answered.

    Raises:
        UnprotectedAddressError: others could reach it, and nothing keeps them out.
        TokensFileError: the file of tokens cannot be read.
        PortTakenError: something else listens on the port.
        AddressUnusableError: this machine cannot listen on the address.
    """
    with serve(services, page=page) as url:
        if ready is not None:
            ready(url)
        if page and services.settings.server.open_browser:
            webbrowser.open(url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serve(services: Services, *, page: bool = True) -> Iterator[str]:
    """Serve while the context is open; gives the address. Raises as `launch` does."""
    address = address_of(services.settings, page=page)
    with listening_socket(address) as listening, _application(services, page=page) as app:
        port = listening.getsockname()[1]
        with _server(app, listening):
            yield f"http://{f'[{address.host}]' if ':' in address.host else address.host}:{port}/"


def address_of(settings: Settings, *, page: bool) -> ServerSettings:
    """Return where to listen: the API's own settings, else the page's.

    Raises:
        UnprotectedAddressError: others could reach it, and nothing keeps them out.
    """
    api, server = settings.api, settings.server
    host = api.host or server.host
    if host not in LOOPBACK and not (api.tokens or api.tokens_file):
        msg = f"{host} is reachable by others: set api.tokens or api.tokens_file as well."
        raise UnprotectedAddressError(msg)
    if page and host not in LOOPBACK and not server.password:
        msg = f"{host} is reachable by others: set server.user and server.password for the page, or add --no-page."
        raise UnprotectedAddressError(msg)
    return server.model_copy(update={"host": host, "port": server.port if api.port is None else api.port})


@contextmanager
def _application(services: Services, *, page: bool) -> "Iterator[ASGIApp]":
    from elysia_chat.ui.api.app import belongs_to_api, build_app
    from elysia_chat.ui.api.lore import Lore
    from elysia_chat.ui.api.parts import Parts
    from elysia_chat.ui.web.ingest_runs import IngestRuns
    from elysia_chat.ui.web.warmup import Warmup

    with ExitStack() as stack:
        front = None
        if page:
            front, state = stack.enter_context(page_application(services))
            runs, warmup = state.runs, state.warmup
        else:
            runs = IngestRuns(services)
            warmup = Warmup(services, runs)
            warmup.start()
        parts = Parts.of(services, Lore(services, runs), warmup)
        stack.callback(parts.close)
        api = build_app(parts)
        yield api if front is None else _SideBySide(api, belongs_to_api, front)


class _SideBySide:
    """The API at its addresses, the page at all others; neither's middleware touches the other."""

    def __init__(self, api: "ASGIApp", belongs_to_api: Callable[[str], bool], page: "ASGIApp") -> None:
        self._api = api
        self._belongs_to_api = belongs_to_api
        self._page = page

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        asked = scope["type"] == "http" and self._belongs_to_api(scope["path"])
        # The page is the one of the two that has something to start.
        await (self._api if asked else self._page)(scope, receive, send)


@contextmanager
def _server(app: Any, listening: socket.socket) -> Iterator[None]:
    """Run a server in a thread of its own while the context is open."""
    import uvicorn

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
        timeout_keep_alive=_SECONDS_IDLE,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listening],), name="server", daemon=True)
    thread.start()
    try:
        while not server.started and thread.is_alive():
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        server.should_exit = True
        thread.join(_SECONDS_TO_END)
