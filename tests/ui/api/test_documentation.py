"""The examples of docs/api.md run as they are written, against the fakes."""

import re
from pathlib import Path

import pytest

from elysia_chat.configs.settings import ApiSettings
from tests.conftest import REPOSITORY

from .conftest import REPLY

TEXT = (REPOSITORY / "docs" / "api.md").read_text(encoding="utf-8")


def test_the_examples_run(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    assert len(examples) == 3
    written = "\n".join(examples).replace("http://127.0.0.1:7860/", url)
    exec(compile(written.replace('"elysia"', '"violet"').replace("elysia-embedder", "hash"), "api.md", "exec"), {})
    said = capsys.readouterr().out
    assert said.count(REPLY) == 2
    assert "1 Violet Garden True" in said
    assert (tmp_path / "hello.wav").read_bytes().startswith(b"RIFF")


def test_every_setting_that_it_names_is_there():
    named = set(re.findall(r"`api\.(\w+)`", TEXT)) | set(re.findall(r"--set api\.(\w+)=", TEXT))
    assert named <= set(ApiSettings.model_fields)
    assert {"tokens", "system_messages", "requests_per_minute"} <= named
