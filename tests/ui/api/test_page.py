"""The page and the API in one process, over one model."""

import json
import signal
import subprocess
import sys

import httpx
import pytest

from elysia_chat.llm.scripted import ScriptedChatModel
from tests.ui.web.parts import PATIENCE_MS, ServicesWith

from .clients import QUESTION, body, fetch, wait_until_ready
from .conftest import REPLY

WITHIN_S = 120


@pytest.mark.browser
def test_who_talks_in_the_page_and_who_calls_the_api_meet_the_same_model(start, visit, model: ScriptedChatModel):
    url = start(ServicesWith(model), page=True)
    visitor = visit(url)
    visitor.ask("Hello in the page?")
    assert visitor.answers() == [REPLY.replace(" [1]", "1")]
    visitor.page.wait_for_function("elysiaVoice.heard.length >= 2", timeout=PATIENCE_MS)
    done = httpx.post(f"{url}v1/chat/completions", json=body()).json()
    assert done["choices"][0]["message"]["content"] == REPLY
    asked = [prompt[-1].text for prompt in model.prompts]
    assert "Hello in the page?" in asked[0]
    assert QUESTION in asked[1]


def test_the_page_is_at_the_root_and_keeps_its_password(start, model: ScriptedChatModel):
    url = start(ServicesWith(model, "server.user=friend", "server.password=moon"), page=True)
    assert "<html" in fetch(url)
    with httpx.Client(base_url=url) as http:
        assert http.get("config").status_code == 401
        assert http.get("v1/models").status_code == 200
        assert "content-security-policy" in http.get("").headers


def test_alone_the_api_has_no_page(http: httpx.Client):
    assert http.get("").json()["error"]["code"] == "not_found"


@pytest.mark.slow
@pytest.mark.parametrize("words", [("--page",), ("--no-page",)])
def test_the_command_serves_until_ctrl_c(data_folder, words: tuple[str, ...]):
    command = [sys.executable, "-m", "elysia_chat.ui.cli", "--settings", "fake", "serve", "--port", "0", "--json"]
    with subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            told = json.loads(process.stdout.readline())
            assert told["api"] == f"{told['url']}v1"
            wait_until_ready(told["url"])
            done = httpx.post(f"{told['api']}/chat/completions", json=body() | {"model": "elysia"}, timeout=WITHIN_S)
            assert done.json()["choices"][0]["message"]["content"]
            taken = [*command, *words, "--port", told["url"].rstrip("/").rpartition(":")[2]]
            second = subprocess.run(taken, capture_output=True, text=True, timeout=WITHIN_S)
            assert "is taken" in json.loads(second.stdout)["error"]["message"]
            process.send_signal(signal.SIGINT)
            assert process.wait(WITHIN_S) == 0
            assert "Traceback" not in process.stderr.read()
        finally:
            process.kill()
