"""The model behind a server: each failure is one line of ours, and nothing is sent that should not be."""

import asyncio
import time
from collections.abc import Iterator

import pytest
from langchain_core.language_models.chat_models import BaseChatModel
from pydantic import SecretStr

from elysia_chat.llm import errors
from elysia_chat.llm.remote import RemoteChatModel

from . import openai_server

SEVEN = "one two three four five six seven"


@pytest.fixture
def server() -> Iterator[openai_server.ParrotServer]:
    with openai_server.parrot_server() as running:
        yield running


def connect(server: openai_server.ParrotServer, **changes: object) -> RemoteChatModel:
    fields = {"base_url": server.url, "name": openai_server.MODEL, "api_key": SecretStr(openai_server.KEY), **changes}
    return RemoteChatModel.connect(**fields)  # type: ignore[arg-type]


def ways(model: BaseChatModel) -> list[object]:
    """Every way to get an answer."""

    async def astream() -> list[str]:
        return [chunk.text async for chunk in model.astream(SEVEN)]

    return [
        lambda: model.invoke(SEVEN),
        lambda: list(model.stream(SEVEN)),
        lambda: asyncio.run(model.ainvoke(SEVEN)),
        lambda: asyncio.run(astream()),
    ]


@pytest.mark.parametrize(
    ("fault", "changes", "error", "message", "streams_only"),
    [
        (
            "",
            {"api_key": SecretStr("wrong")},
            errors.RemoteAccessError,
            r"refuses the key \(401\): set model\.api_key",
            False,
        ),
        ("", {"api_key": None}, errors.RemoteAccessError, "refuses the key", False),
        ("", {"name": "absent"}, errors.RemoteUnknownModelError, "has no model 'absent' .*model.name", False),
        ("slow", {"timeout_s": 0.3}, errors.RemoteTimeoutError, r"silent for 0\.3 s: .*timeout_s", False),
        ("cut", {}, errors.RemoteInterruptedError, "broke off", True),
        ("no-end", {}, errors.RemoteInterruptedError, "broke off", True),
        ("error-event", {}, errors.RemoteRequestError, "failed: the model fell over", True),
        ("error-500", {}, errors.RemoteRequestError, r"failed \(500\)", False),
        ("busy", {}, errors.RemoteRequestError, "429.*later", False),
        ("html", {}, errors.RemoteModelError, None, False),
        ("no-json", {}, errors.RemoteModelError, None, False),
    ],
)
def test_each_failure_is_one_line(
    server: openai_server.ParrotServer,
    fault: str,
    changes: dict[str, object],
    error: type[Exception],
    message: str | None,
    streams_only: bool,
):
    server.fault = fault
    for way in ways(connect(server, **changes))[1 if streams_only else 0 :: 2 if streams_only else 1]:
        with pytest.raises(error, match=message) as caught:
            way()  # type: ignore[operator]
        assert "\n" not in str(caught.value)
        assert openai_server.KEY not in str(caught.value)
        assert "wrong" not in str(caught.value)


def test_a_server_that_is_down_is_told():
    with openai_server.parrot_server() as server:
        model = connect(server)
    for way in ways(model):
        with pytest.raises(errors.RemoteUnavailableError, match=r"Nothing answers at http://127\.0\.0\.1:.*start the"):
            way()  # type: ignore[operator]


def test_what_came_before_a_break_is_kept(server: openai_server.ParrotServer):
    server.fault = "cut"
    stream = connect(server).stream(SEVEN)
    assert [next(stream).text.strip() for _ in range(2)] == ["one", "two"]
    with pytest.raises(errors.RemoteInterruptedError):
        list(stream)


def test_closing_the_stream_hangs_up(server: openai_server.ParrotServer):
    server.delay_s = 0.02
    stream = connect(server).stream(SEVEN * 30)
    next(stream)
    stream.close()
    time.sleep(0.3)
    sent = server.sent
    time.sleep(0.3)
    assert server.sent == sent < 30


def test_settings_reach_the_server_under_the_names_it_knows(server: openai_server.ParrotServer):
    model = connect(server, max_new_tokens=50, temperature=0.5, top_p=0.8, top_k=7, seed=3, stop=("x",))
    model.invoke(SEVEN)
    sent = server.requests[-1]
    expected = {"max_tokens": 50, "temperature": 0.5, "top_p": 0.8, "top_k": 7, "repetition_penalty": 1.05, "seed": 3}
    assert {name: sent.get(name) for name in expected} == expected
    assert sent["stop"] == ["x"]
    list(model.stream(SEVEN, max_new_tokens=2, temperature=0.0, top_k=3, repetition_penalty=1.2, seed=4, stop=["q"]))
    sent = server.requests[-1]
    expected = {"max_tokens": 2, "temperature": 0.0, "top_k": 3, "repetition_penalty": 1.2, "seed": 4, "stop": ["q"]}
    assert {name: sent.get(name) for name in expected} == expected


def test_openai_itself_is_not_sent_what_it_refuses():
    model = RemoteChatModel.connect("https://api.openai.com/v1", "gpt-5", max_new_tokens=9)
    payload = model._get_request_payload("hi", top_k=3)
    assert not {"top_k", "repetition_penalty", "max_tokens"} & {*payload, *(payload.get("extra_body") or {})}
    assert payload["max_completion_tokens"] == 9


def test_a_key_in_the_environment_stays_there(server: openai_server.ParrotServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("OPENAI_API_KEY", openai_server.KEY)
    with pytest.raises(errors.RemoteAccessError):
        connect(server, api_key=None).invoke("hi")


def test_neither_key_nor_password_is_shown(server: openai_server.ParrotServer):
    url = server.url.replace("http://", "http://user:hidden@")
    model = connect(server, base_url=url, api_key=SecretStr("wrong"))
    with pytest.raises(errors.RemoteModelError) as caught:
        model.invoke("hi")
    assert "hidden" not in str(caught.value)
    assert openai_server.KEY not in repr(connect(server))
