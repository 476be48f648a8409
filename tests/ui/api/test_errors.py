"""Everything that fails does so in the API's own format, and the next request works."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGenerationChunk

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.loader import load_settings
from elysia_chat.llm.errors import PromptTooLongError, RemoteInterruptedError
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.services import Services
from tests.llm.openai_server import KEY, MODEL, parrot_server
from tests.ui.web.parts import FailingOnceModel, ServicesWith

from .clients import QUESTION, body, user

WORDS = "Polly wants a cracker now"
JSON = {"Content-Type": "application/json"}


class BreakingOffModel(ScriptedChatModel):
    """Fails after its first word, once."""

    failure: Any = RemoteInterruptedError("The answer broke off: send the message again.")
    failures: list[str] = []  # noqa: RUF012

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        if not self.failures:
            self.failures.append("once")
            yield ChatGenerationChunk(message=AIMessageChunk("Well "))
            raise self.failure
        yield from super()._stream(messages, stop, run_manager, **kwargs)


def refused(response: httpx.Response, status: int, code: str) -> str:
    """Check an error's format and return its line."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    error = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["code"] == code
    assert "\n" not in error["message"]
    return error["message"]


def test_what_is_not_there_is_not_found(http: httpx.Client, client: openai.OpenAI):
    assert "/docs" in refused(http.get("v1/nothing"), 404, "not_found")
    assert "GET" in refused(http.get("v1/chat/completions"), 405, "method_not_allowed")
    for model in ("gpt-4o", "violet@rag", "../violet", ""):
        line = refused(http.post("v1/chat/completions", json=body() | {"model": model}), 404, "model_not_found")
        assert "violet" in line
    with pytest.raises(openai.NotFoundError, match="no model 'gpt-4o'") as caught:
        client.models.retrieve("gpt-4o")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert client.models.retrieve("violet").id == "violet"


def test_a_body_that_cannot_be_read_is_a_bad_request(http: httpx.Client):
    path = "v1/chat/completions"
    assert "not JSON" in refused(http.post(path, content=b"{", headers=JSON), 400, "invalid_json")
    assert "not JSON" in refused(http.post(path, content=b"\xff\xfe", headers=JSON), 400, "invalid_json")
    assert "JSON object" in refused(http.post(path, content=b"[]", headers=JSON), 400, "invalid_value")
    # A web page may send text to any address without asking first.
    plain = {"Content-Type": "text/plain"}
    assert "JSON" in refused(http.post(path, content=json.dumps(body()), headers=plain), 400, "invalid_value")
    assert "model" in refused(http.post(path, json={"messages": user("Hi")}), 400, "invalid_value")
    assert http.post(path, json=body()).status_code == 200


def test_a_message_that_is_too_long_is_a_bad_request(start, connect):
    client = connect(start(ServicesWith(ScriptedChatModel(replies=("Yes.",)), "chat.max_message_chars=50")))
    with pytest.raises(openai.BadRequestError, match="limit is 50"):
        client.chat.completions.create(model="violet", messages=user("x" * 51))
    assert client.chat.completions.create(model="violet", messages=user(QUESTION)).choices


@pytest.mark.parametrize(
    ("failure", "status", "code"),
    [
        (PromptTooLongError("The prompt leaves no room."), 400, "context_length_exceeded"),
        (ElysiaChatError("Something is missing: install it."), 500, "internal_error"),
        (ZeroDivisionError("secret detail"), 500, "internal_error"),
    ],
)
def test_a_model_that_fails_is_told_of_and_answers_the_next(start, connect, failure, status, code):
    client = connect(start(ServicesWith(FailingOnceModel(replies=("Yes.",), failure=failure, failures=[]))))
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model="violet", messages=user(QUESTION), stream=True)
    assert (caught.value.status_code, caught.value.code) == (status, code)
    assert "secret" not in str(caught.value)
    assert client.chat.completions.create(model="violet", messages=user(QUESTION)).choices


def test_an_answer_that_breaks_off_ends_its_stream_with_the_error(start, connect):
    client = connect(start(ServicesWith(BreakingOffModel(replies=("Yes.",), failures=[]))))
    stream = client.chat.completions.create(model="violet", messages=user(QUESTION), stream=True)
    heard: list[str] = []
    with pytest.raises(openai.APIError, match="broke off"):
        heard.extend(piece.choices[0].delta.content or "" for piece in stream)
    assert client.chat.completions.create(model="violet", messages=user(QUESTION)).choices[0].message.content == "Yes."


def test_a_remote_model_that_is_down_slow_or_broken(start, connect):
    with parrot_server() as remote:
        remote_url = remote.url
        given = ["persona=violet", "server.port=0", "model.kind=openai", "model.timeout_s=0.5"]
        given += [f"model.name={MODEL}", f"model.api_key={KEY}"]
        client = connect(start(Services(load_settings(["fake"], [*given, f"model.base_url={remote_url}"]))))

        def ask(**fields: Any) -> Any:
            return client.chat.completions.create(model="violet@norag", messages=user(WORDS), **fields)

        assert ask().choices[0].message.content == WORDS
        for fault, status in (("error-500", 502), ("html", 502), ("slow", 504)):
            remote.fault = fault
            with pytest.raises(openai.InternalServerError) as caught:
                ask()
            assert caught.value.status_code == status, fault
        remote.fault = "cut"
        with pytest.raises(openai.APIError, match="broke off"):
            list(ask(stream=True))
        remote.fault = ""
        assert ask().choices[0].message.content == WORDS
    with pytest.raises(openai.InternalServerError, match="Nothing answers") as caught:
        ask()
    assert (caught.value.status_code, caught.value.code) == (502, "model_unavailable")
