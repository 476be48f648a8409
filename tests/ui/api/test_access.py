"""Who may call, how often, and with how much."""

import asyncio
from pathlib import Path

import httpx
import openai
import pytest

from elysia_chat.configs.errors import SettingsError
from elysia_chat.configs.loader import dump_settings, load_settings
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.api.access import Tokens, check_host, read_tokens
from elysia_chat.ui.api.errors import HostRefusedError, TokensFileError, UnprotectedAddressError
from elysia_chat.ui.api.launch import address_of
from tests.ui.web.parts import ServicesWith

from .clients import body, metric
from .test_errors import refused

TOKEN, OTHER = "moon.flower-1", "heron_2"


@pytest.fixture
def model() -> ScriptedChatModel:
    return ScriptedChatModel(replies=("Yes.",))


def test_only_a_known_token_opens(start, connect, model, tmp_path: Path):
    file = tmp_path / "tokens"
    file.write_text(f"# of the ferry\n\n  {OTHER}\n", encoding="utf-8")
    url = start(ServicesWith(model, f"api.tokens=[{TOKEN}]", f"api.tokens_file={file}"))
    with httpx.Client(base_url=url) as http:

        def ask(credentials: str | bytes) -> httpx.Response:
            return http.post("v1/chat/completions", json=body(), headers={"Authorization": credentials})

        for credentials in (f"Bearer {TOKEN}", f"Bearer {OTHER}", f"bearer {TOKEN}"):
            assert ask(credentials).status_code == 200
        wrong = ["none", TOKEN[:-1], f"{TOKEN}1", "# of the ferry"]
        for credentials in (
            *(f"Bearer {token}" for token in wrong),
            f"Basic {TOKEN}",
            TOKEN,
            "Bearer ж".encode(),
            "Bearer",
        ):
            response = ask(credentials)
            refused(response, 401, "invalid_api_key")
            assert response.headers["www-authenticate"] == "Bearer"
        for path in ("v1/models", "metrics", "v1/nothing"):
            refused(http.get(path), 401, "invalid_api_key")
        for path in ("health", "ready", "docs", "openapi.json"):
            assert http.get(path).status_code == 200
        schemes = http.get("openapi.json").json()["components"]["securitySchemes"]
    assert [scheme["scheme"] for scheme in schemes.values()] == ["bearer"]
    with pytest.raises(openai.AuthenticationError, match="unknown"):
        connect(url).models.list()


def test_tokens_are_told_apart():
    tokens = Tokens([TOKEN, OTHER])
    assert [tokens.find(given) for given in (TOKEN, OTHER, "", "other")] == [0, 1, None, None]
    assert TOKEN not in repr(vars(tokens))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("api.tokens=12345", "quote"),
        ("api.tokens=[abc, 12345]", "quote"),
        ("api.tokens=[with space]", "letters"),
        ("api.tokens=['']", "letters"),
        ("api.host=0.0.0.0", r"api\.tokens"),
    ],
)
def test_settings_that_protect_nothing_are_refused_without_showing_a_secret(override: str, message: str):
    with pytest.raises(SettingsError, match=message) as caught:
        load_settings(overrides=[override])
    assert "12345" not in str(caught.value)


def test_tokens_are_not_dumped():
    assert TOKEN not in str(dump_settings(load_settings(overrides=[f"api.tokens={TOKEN}"])))


@pytest.mark.parametrize("content", [None, b"# nothing\n", b"\xff\xfe"])
def test_a_file_without_tokens_is_one_line(tmp_path: Path, content: bytes | None):
    file = tmp_path / "tokens"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(TokensFileError, match=r"tokens.*api\.tokens_file"):
        read_tokens(load_settings(overrides=[f"api.tokens_file={file}"]).api)


def test_a_wider_address_needs_tokens_and_for_the_page_a_password():
    password = ["server.host=0.0.0.0", "server.user=friend", "server.password=moon"]
    with pytest.raises(UnprotectedAddressError, match=r"api\.tokens"):
        address_of(load_settings(overrides=password), page=True)
    tokens = ["api.host=0.0.0.0", f"api.tokens={TOKEN}", "api.port=1234"]
    with pytest.raises(UnprotectedAddressError, match="--no-page"):
        address_of(load_settings(overrides=tokens), page=True)
    address = address_of(load_settings(overrides=tokens), page=False)
    assert (address.host, address.port) == ("0.0.0.0", 1234)
    assert address_of(load_settings(overrides=[*password, *tokens]), page=True).host == "0.0.0.0"
    assert address_of(load_settings(overrides=["server.port=99"]), page=True).port == 99


def test_without_tokens_other_names_for_this_machine_are_refused(http: httpx.Client):
    assert http.get("v1/models", headers={"Host": "localhost:1"}).status_code == 200
    refused(http.get("v1/models", headers={"Host": "rebound.example"}), 403, "host_not_allowed")
    for host in ("", "[", "127.0.0.1.example", "user@elsewhere"):
        with pytest.raises(HostRefusedError):
            check_host(host)
    for host in ("127.0.0.1", "LOCALHOST:7860", "[::1]:7860"):
        check_host(host)


def test_too_many_requests_are_told_when_to_come_back(start, connect, model):
    url = start(ServicesWith(model, "api.requests_per_minute=3", f"api.tokens=[{TOKEN}, {OTHER}]"))
    client = connect(url, api_key=TOKEN)
    for _ in range(3):
        client.models.list()
    with pytest.raises(openai.RateLimitError, match="3 requests in a minute") as caught:
        client.models.list()
    assert 1 <= int(caught.value.response.headers["retry-after"]) <= 60
    assert connect(url, api_key=OTHER).models.list().data
    # Guessing tokens is counted by address.
    with httpx.Client(base_url=url) as http:
        assert [http.get("v1/models").status_code for _ in range(4)] == [401, 401, 401, 429]


def test_a_large_body_is_not_read(start, model):
    url = start(ServicesWith(model, "api.max_body_mb=0.01"))
    with httpx.Client(base_url=url) as http:
        assert "0.01 MB" in refused(http.post("v1/chat/completions", json=body("x" * 20_000)), 413, "body_too_large")
        unsaid = http.post("v1/chat/completions", content=(b"x" * 1000 for _ in range(20)))
        refused(unsaid, 413, "body_too_large")
        assert http.post("v1/chat/completions", json=body()).status_code == 200
    assert metric(url, 'elysia_chat_refused_total{reason="body_too_large"}') == 2


def test_a_full_line_is_told_honestly_and_the_others_are_answered(start):
    model = ScriptedChatModel(replies=("one two three four five",), delay_s=0.1)
    url = start(ServicesWith(model, "api.concurrency=1", "api.queue=1"))

    async def ask_all() -> list[httpx.Response]:
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            return await asyncio.gather(*(http.post("v1/chat/completions", json=body()) for _ in range(5)))

    responses = asyncio.run(ask_all())
    full = [response for response in responses if response.status_code != 200]
    assert len(full) == 3
    for response in full:
        assert "1 requests wait" in refused(response, 503, "queue_full")
        assert int(response.headers["retry-after"]) > 0
    assert metric(url, 'elysia_chat_answers_total{outcome="refused"}') == 3
    assert metric(url, 'elysia_chat_waiting{work="answers"}') == 0


def test_web_pages_of_other_origins_are_let_in_only_where_they_are_named(start, model):
    url = start(ServicesWith(model, "api.cors_origins=['https://friend.example']", f"api.tokens={TOKEN}"))
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    with httpx.Client(base_url=url) as http:
        known = http.options("v1/chat/completions", headers={**asks, "Origin": "https://friend.example"})
        assert known.headers["access-control-allow-origin"] == "https://friend.example"
        other = http.options("v1/chat/completions", headers={**asks, "Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers
        failed = http.get("v1/models", headers={"Origin": "https://friend.example"})
        assert failed.headers["access-control-allow-origin"] == "https://friend.example"


def test_by_default_no_other_origin_is_let_in(http: httpx.Client):
    answer = http.get("v1/models", headers={"Origin": "https://other.example"})
    assert not [name for name in answer.headers if name.startswith("access-control")]
