"""Starts the page and keeps it running. Importing this module loads no part of it."""

import errno
import os
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.settings import LOOPBACK, ServerSettings
from elysia_chat.ui.errors import AddressUnusableError, PortTakenError
from elysia_chat.ui.services import Services

if TYPE_CHECKING:
    from fastapi import FastAPI

    from elysia_chat.ui.web.app import Page
    from elysia_chat.ui.web.state import PageState

ASSETS = Path(__file__).parent / "assets"
_SCRIPTS = ("voice.js", "page.js")
_MEGABYTE = 1_000_000


def launch(services: Services, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve the page until it is interrupted.

    Args:
        services: everything behind the page; where it listens is in their settings.
        ready: called with the address once the page can be opened.

    Raises:
        PortTakenError: something else listens on the port.
        AddressUnusableError: this machine cannot listen on the address.
    """
    with serve(services) as url:
        if ready is not None:
            ready(url)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serve(services: Services) -> Iterator[str]:
    """Serve the page while the context is open; gives its address. Raises as `launch` does."""
    port = free_port(services.settings.server)
    with _page(services) as page:
        app, url, _ = page.blocks.launch(**_launch_arguments(services, port), **_page_arguments(services))
        # Before Gradio's own, of which the last takes every address.
        app.router.routes[:0] = page.routes()
        page.state.warmup.start()
        yield url


@contextmanager
def page_application(services: Services) -> "Iterator[tuple[FastAPI, PageState]]":
    """Give the page as an ASGI application for a server of the caller's, and its state; it begins to prepare itself."""
    with _page(services) as page:
        from fastapi import FastAPI
        from gradio import mount_gradio_app

        app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, routes=page.routes())
        server = services.settings.server
        mount_gradio_app(
            app, page.blocks, "/", server_name=server.host, server_port=server.port, **_page_arguments(services)
        )
        page.state.warmup.start()
        yield app, page.state


@contextmanager
def _page(services: Services) -> "Iterator[Page]":
    uploads = Path(tempfile.mkdtemp(prefix="elysia-chat-"))
    _prepare_environment(uploads)
    from elysia_chat.ui.web.app import Page

    page = Page(services)
    try:
        yield page
    finally:
        page.state.sessions.stop_all()
        page.blocks.close(verbose=False)
        shutil.rmtree(uploads, ignore_errors=True)


def free_port(server: ServerSettings) -> int:
    """Return the port to listen on; 0 in the settings asks the system for one. Raises as `listening_socket` does."""
    with listening_socket(server) as probe:
        return int(probe.getsockname()[1])


def listening_socket(server: ServerSettings) -> socket.socket:
    """Return a socket that listens where the settings say.

    Raises:
        PortTakenError: something else listens on the port.
        AddressUnusableError: this machine cannot listen on the address.
    """
    family = socket.AF_INET6 if ":" in server.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((server.host, server.port))
        listening.listen()
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            msg = (
                f"Port {server.port} is taken, perhaps by a page that is already open. "
                f"Close that, or choose another: server.port={server.port + 1} (0 takes a free one)."
            )
            raise PortTakenError(msg) from error
        where = f"{server.host}:{server.port}"
        msg = f"Cannot listen on {where} ({error.strerror}): choose another server.host or server.port."
        raise AddressUnusableError(msg) from error
    return listening


def _prepare_environment(uploads: Path) -> None:
    """Set what Gradio and its libraries read from the environment: no telemetry, a private folder for uploads."""
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    os.environ["GRADIO_TEMP_DIR"] = str(uploads)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    # The page asks itself whether it is up; a proxy must not be asked instead.
    for name in ("NO_PROXY", "no_proxy"):
        listed = [host for host in os.environ.get(name, "").split(",") if host]
        os.environ[name] = ",".join(dict.fromkeys([*listed, *LOOPBACK]))


def _launch_arguments(services: Services, port: int) -> dict[str, Any]:
    """Return how Gradio's own server is started."""
    server = services.settings.server
    return {
        "server_name": server.host,
        "server_port": port,
        "inbrowser": server.open_browser,
        "share": False,
        "quiet": True,
        "prevent_thread_lock": True,
    }


def _page_arguments(services: Services) -> dict[str, Any]:
    """Return how the page is, whoever serves it."""
    from starlette.middleware import Middleware

    from elysia_chat.ui.web.security import SecurityHeaders
    from elysia_chat.ui.web.theme import build_theme

    server, ingest = services.settings.server, services.settings.ingest
    script = "\n".join((ASSETS / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    password = server.password.get_secret_value() if server.password else None
    return {
        "auth": (server.user, password) if server.user and password else None,
        "auth_message": "Elysia Chat",
        "show_error": False,
        "footer_links": [],
        "run_history": False,
        "enable_monitoring": False,
        "ssr_mode": False,
        "pwa": False,
        "mcp_server": False,
        "allowed_paths": [],
        "max_file_size": int(ingest.max_file_mb * _MEGABYTE),
        "favicon_path": str(ASSETS / "favicon.png"),
        "theme": build_theme(),
        "css_paths": [ASSETS / "page.css"],
        "head": f'<meta name="color-scheme" content="light dark"><script>{script}</script>',
        "app_kwargs": {"middleware": [Middleware(SecurityHeaders)], "docs_url": None, "redoc_url": None},
    }
