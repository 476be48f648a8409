"""What those who run the API look at."""

import re
import time
from pathlib import Path

import httpx
import pytest
from openapi_spec_validator import validate
from prometheus_client.parser import text_string_to_metric_families

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.kb.personas import create_persona
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.api.launch import serve
from tests.ui.web.parts import ServicesWith, make_persona

from .clients import QUESTION, body, fetch, metric, wait_until


class LaterModel(ServicesWith):
    """Its model can be had when `loaded` says so."""

    loaded = False
    failure: ElysiaChatError | None = None

    @property
    def model(self) -> ScriptedChatModel:
        while not self.loaded:
            time.sleep(0.01)
        if self.failure is not None:
            raise self.failure
        return super().model


@pytest.fixture
def services(data_folder) -> LaterModel:
    make_persona()
    made = LaterModel(ScriptedChatModel(replies=("Yes.",)))
    yield made
    made.close()


def test_it_is_alive_before_it_is_ready(services: LaterModel):
    with serve(services, page=False) as url, httpx.Client(base_url=url) as http:
        assert http.get("health").json() == {"status": "ok"}
        wait_until(lambda: http.get("ready").json()["stage"] == "model")
        response = http.get("ready")
        assert (response.status_code, response.json()["status"]) == (503, "preparing")
        services.loaded = True
        wait_until(lambda: http.get("ready").status_code == 200)


def test_what_keeps_it_from_getting_ready_is_told(services: LaterModel):
    services.loaded, services.failure = True, ElysiaChatError("The weights are missing: install them.")
    with serve(services, page=False) as url, httpx.Client(base_url=url) as http:
        wait_until(lambda: http.get("ready").json()["stage"] == "ready")
        response = http.get("ready")
        assert (response.status_code, response.json()["error"]) == (503, "The weights are missing: install them.")


def test_personas_are_listed_as_models(http: httpx.Client):
    data = http.get("v1/models").json()["data"]
    assert [model["id"] for model in data] == ["violet", "violet@norag", "elysia", "elysia@norag"]
    assert data[0]["name"] == "Violet"
    assert {model["object"] for model in data} == {"model"}


def test_a_card_that_cannot_be_read_hides_its_persona_alone(http: httpx.Client, data_folder: Path):
    create_persona("Broken")
    (data_folder / "personas" / "broken" / "card.json").write_text("{", encoding="utf-8")
    assert "broken" not in [model["id"] for model in http.get("v1/models").json()["data"]]
    response = http.post("v1/chat/completions", json=body() | {"model": "broken"})
    assert (response.status_code, response.json()["error"]["type"]) == (500, "server_error")


def test_the_lore_of_any_persona_is_indexed_before_its_first_answer(http: httpx.Client):
    create_persona("Heron").add_document("ferry.md", b"# Ferry\n\nThe ferry is painted orange.\n")
    answer = http.post("v1/chat/completions", json=body("What colour is the ferry?") | {"model": "heron"}).json()
    sources = answer["choices"][0]["message"]["sources"]
    assert "ferry.md" in [source["document"] for source in sources]


def test_metrics_count_what_happened(url: str, http: httpx.Client):
    http.post("v1/chat/completions", json=body())
    http.post("v1/chat/completions", json=body() | {"model": "nobody"})
    http.get("v1/models/violet")
    http.get("some/path/that/nobody/knows")
    http.post("v1/audio/speech", json={"model": "violet", "input": "One two three four."})
    counted = {
        'requests_total{path="/v1/chat/completions",status="200"}': 1,
        'requests_total{path="/v1/chat/completions",status="404"}': 1,
        'requests_total{path="/v1/models/{model}",status="200"}': 1,
        'requests_total{path="other",status="404"}': 1,
        'refused_total{reason="model_not_found"}': 1,
        'answers_total{outcome="stop"}': 1,
        "first_token_seconds_count": 1,
    }
    for line, value in counted.items():
        assert metric(url, f"elysia_chat_{line}") == value, line
    assert metric(url, 'elysia_chat_tokens_total{kind="answer"}') > 5
    assert metric(url, "elysia_chat_spoken_seconds_total") > 0.5
    assert metric(url, "process_resident_memory_bytes") > 1e7
    assert len(list(text_string_to_metric_families(fetch(f"{url}metrics")))) > 10


def test_the_description_is_valid_openapi(http: httpx.Client):
    described = http.get("openapi.json").json()
    validate(described)
    paths = {"/v1/models", "/v1/chat/completions", "/v1/audio/speech", "/v1/embeddings", "/health", "/metrics"}
    assert paths <= set(described["paths"])
    operations = [operation for path in described["paths"].values() for operation in path.values()]
    # FastAPI's own 422 is never sent: what is wrong with a request is told as a 400.
    assert all({"4XX", "5XX"} <= set(operation["responses"]) for operation in operations)
    assert not [operation for operation in operations if "422" in operation["responses"]]


def test_the_documentation_fetches_nothing_from_elsewhere(http: httpx.Client):
    page = http.get("docs")
    assert "/v1/chat/completions" in page.text
    assert re.findall(r"(?:src|href)=\"([^\"]*)\"", page.text) == ["openapi.json"]
    assert "http" not in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'")


def test_an_answer_is_had_with_the_simplest_of_clients(http: httpx.Client):
    response = http.post("v1/chat/completions", json=body(QUESTION, stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    assert response.headers["x-accel-buffering"] == "no"
    lines = [line for line in response.text.splitlines() if line]
    assert all(line.startswith("data: ") for line in lines)
    assert lines[-1] == "data: [DONE]"
