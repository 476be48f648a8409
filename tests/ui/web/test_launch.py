"""Where the page listens, and what is said when it cannot."""

import os
import socket

import pytest

from elysia_chat.configs.settings import ServerSettings
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.errors import AddressUnusableError, PortTakenError
from elysia_chat.ui.web.launch import free_port, launch, serve

from .parts import ServicesWith, make_persona


def test_a_taken_port_is_one_line_with_the_way_out():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortTakenError, match=rf"^Port {port} is taken.*server\.port={port + 1}.*\.$"):
            launch(ServicesWith(ScriptedChatModel(), f"server.port={port}"))


def test_an_address_of_another_machine_is_refused():
    settings = ServerSettings(host="192.0.2.1", user="friend", password="moon")
    with pytest.raises(AddressUnusableError, match=r"192\.0\.2\.1"):
        free_port(settings)


def test_port_zero_takes_a_free_one():
    port = free_port(ServerSettings(port=0))
    assert port > 0
    assert free_port(ServerSettings(port=port)) == port


def test_the_page_says_where_it_is_and_listens_on_loopback_alone(monkeypatch):
    import httpx

    make_persona()
    monkeypatch.setenv("HTTP_PROXY", "http://203.0.113.1:9")
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "True")
    with serve(ServicesWith(ScriptedChatModel())) as url:
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(trust_env=False, base_url=url) as client:
            assert "Elysia Chat" in client.get("/").text
            config = client.get("/config").json()
        assert os.environ["GRADIO_ANALYTICS_ENABLED"] == "False"
    assert config["analytics_enabled"] is False
    assert config["footer_links"] == []
    with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.1", int(url.split(":")[-1][:-1]))):
        pass
