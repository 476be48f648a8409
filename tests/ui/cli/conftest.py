"""A small persona, and commands run in this process on the fakes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from elysia_chat.kb.personas import create_persona
from elysia_chat.ui.cli.app import app

FAKES = ("--settings", "fake")
Command = Callable[..., Result]


@pytest.fixture
def lore(data_folder: Path) -> Path:
    """The lore folder of a persona called 'mini', with two documents."""
    create_persona("mini")
    folder = data_folder / "personas" / "mini" / "lore"
    (folder / "mini.md").write_text("# Mini\n\nMini lives in a blue teapot.\n", encoding="utf-8")
    (folder / "铃.md").write_text("# 铃\n\n## 生日\n\n铃的生日是五月三日。\n", encoding="utf-8")
    return folder


@pytest.fixture
def command(lore: Path) -> Command:
    """Run a command on the fakes, with 'mini' as the persona."""

    def run(*words: str, **options: Any) -> Result:
        return CliRunner().invoke(app, [*FAKES, "--set", "persona=mini", *words], **options)

    return run


def parsed(result: Result) -> dict[str, Any]:
    """Return the one JSON object on stdout, which has to be all there is."""
    assert result.stdout.count("\n") == 1, result.output
    data = json.loads(result.stdout)
    assert isinstance(data, dict)
    return data
