"""Parts that the tests of the knowledge base share."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from elysia_chat.configs.settings import StoreSettings
from elysia_chat.kb.chunk import Chunk, chunk_id
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base

LORE = {
    "elysia.md": ("爱莉希雅", ["爱莉希雅有一头粉色的长发。", "她的生日是十一月十一日。", "她最喜欢的花是水晶花。"]),
    "kevin.md": ("Kevin", ["Kevin is the leader of the Flame-Chasers.", "His body is as cold as ice."]),
    "griseo.md": ("格蕾修", ["格蕾修喜欢画画，总是带着颜料。", "她是英桀里年纪最小的一位。"]),
}


def make_chunks(lore: dict[str, tuple[str, list[str]]] = LORE) -> list[Chunk]:
    return [
        Chunk(
            id=chunk_id(document, "", text),
            text=text,
            document=document,
            title=title,
            position=position,
            start=sum(len(earlier) + 1 for earlier in texts[:position]),
            language="zh",
        )
        for document, (title, texts) in lore.items()
        for position, text in enumerate(texts)
    ]


@pytest.fixture
def chunks() -> list[Chunk]:
    return make_chunks()


@pytest.fixture(scope="session")
def chroma_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    """A real Chroma server on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("chroma-server")
    command = [str(Path(sys.executable).with_name("chroma")), "run", "--path", str(folder / "data")]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "ANONYMIZED_TELEMETRY": "false"},
        )
    try:
        _wait_for(f"http://127.0.0.1:{port}/api/v2/heartbeat", server)
        yield "127.0.0.1", port
    finally:
        server.terminate()
        server.wait(30)


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert server.poll() is None, "the Chroma server ended at once"
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    pytest.fail("the Chroma server did not start within a minute")


@pytest.fixture(params=["memory", "chroma", "chroma-server"])
def store_settings(request: pytest.FixtureRequest) -> StoreSettings:
    if request.param == "chroma-server":
        host, port = request.getfixturevalue("chroma_server")
        return StoreSettings(kind="chroma-server", host=host, port=port)
    return StoreSettings(kind=request.param)


Open = Callable[..., KnowledgeBase]


@pytest.fixture
def open_kb(store_settings: StoreSettings, request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open knowledge bases that are closed, and on a shared server emptied, when the test ends."""
    opened: list[KnowledgeBase] = []
    persona = f"p{abs(hash(request.node.nodeid))}"

    def opener(fingerprint: str = "hash", embeddings: HashEmbeddings | None = None) -> KnowledgeBase:
        made = open_knowledge_base(persona, embeddings or HashEmbeddings(), fingerprint, store_settings)
        opened.append(made)
        return made

    yield opener
    for made in opened:
        made.close()


@pytest.fixture
def memory_kb(chunks: list[Chunk]) -> Iterator[KnowledgeBase]:
    """A filled knowledge base in memory."""
    made = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))
    made.write(chunks)
    yield made
    made.close()


@pytest.fixture
def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def other_server() -> Iterator[int]:
    """An HTTP server that answers everything with a page."""

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.fixture
def silent_server() -> Iterator[int]:
    """A port that accepts and says nothing."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]
