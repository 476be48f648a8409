"""The environment is told apart from a half-built one, and what goes wrong as it is built is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from elysia_chat.training.xtuner import environment as module
from elysia_chat.training.xtuner.environment import (
    build_environment,
    find_environment,
    find_python,
    ready_environment,
    requirements,
)
from elysia_chat.training.xtuner.errors import XtunerSetupError


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELYSIA_CHAT_HOME", str(tmp_path))
    return tmp_path / "xtuner"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def stamp(home: Path, digest: str) -> None:
    program(home / "bin" / "python", "exit 0")
    content = {"requirements": digest, "versions": {"xtuner": "0.2.0"}}
    (home / "xtuner.json").write_text(json.dumps(content), encoding="utf-8")


def test_it_is_missing_at_first(home: Path) -> None:
    assert find_environment().state == "missing"
    with pytest.raises(XtunerSetupError, match="is not there: build it with `elysia-chat train xtuner setup`"):
        ready_environment()


def test_one_that_was_broken_off_is_not_taken(home: Path) -> None:
    home.mkdir()
    assert find_environment().state == "broken"
    with pytest.raises(XtunerSetupError, match="not built to its end"):
        ready_environment()
    stamp(home, module._digest())
    (home / "bin" / "python").unlink()
    assert find_environment().state == "broken"


def test_it_is_ready_until_the_pins_change(home: Path) -> None:
    stamp(home, module._digest())
    assert (find_environment().state, find_environment().versions) == ("ready", {"xtuner": "0.2.0"})
    assert build_environment(python="/no/such/python").state == "ready"
    stamp(home, "other")
    assert find_environment().state == "outdated"
    assert ready_environment().python == home / "bin" / "python"


def test_every_line_of_the_pinned_file_is_one_version() -> None:
    lines = [line for line in requirements().read_text(encoding="utf-8").splitlines() if line[:1] not in ("#", "")]
    assert all(line.count("==") == 1 and not line.startswith("-") for line in lines)
    names = [line.partition("==")[0].lower() for line in lines]
    assert len(set(names)) == len(names)
    assert {"xtuner", "torch", "torchvision", "transformers", "bitsandbytes", "deepspeed", "mmengine"} <= set(names)


def test_a_python_that_fits(tmp_path: Path) -> None:
    assert find_python() == find_python(find_python())
    old = program(tmp_path / "old", "echo 3 8")
    with pytest.raises(XtunerSetupError, match=r"old is not Python 3\.11 or 3\.12 with its modules venv and ensurepip"):
        find_python(str(old))
    with pytest.raises(XtunerSetupError, match="give another with --python"):
        find_python(str(program(tmp_path / "without-venv", "exit 1")))


def test_no_python_that_fits(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As with pyenv, whose programs are there for every version and fail for those that are not chosen."""
    program(tmp_path / "python3.11", "echo 'pyenv: python3.11: command not found' >&2; exit 127")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "_base_executable", str(program(tmp_path / "base", "exit 1")))
    with pytest.raises(XtunerSetupError, match=r"none is found: install it .*--python PATH"):
        find_python()


def test_a_package_that_cannot_be_installed_is_named(home: Path, tmp_path: Path) -> None:
    failing = program(
        tmp_path / "python",
        'case "$*" in *ensurepip*) echo 3 11 ;; *"-m venv"*) mkdir -p "$3/bin"; cp "$0" "$3/bin/python" ;; '
        '*) echo "ERROR: No matching distribution found for torch==2.13.0"; exit 1 ;; esac',
    )
    told: list[str] = []
    with pytest.raises(XtunerSetupError, match=r"No matching distribution found for torch==2\.13\.0 \(all of it: "):
        build_environment(python=str(failing), progress=lambda what, _done, _total: told.append(what))
    assert told == ["making the environment", "installing torch"]
    assert "No matching distribution" in (home / "setup.log").read_text(encoding="utf-8")
    assert find_environment().state == "broken"


def test_two_at_a_time(home: Path, tmp_path: Path) -> None:
    with FileLock(tmp_path / ".xtuner.lock"), pytest.raises(XtunerSetupError, match="built by another process"):
        build_environment()


def test_nothing_of_it_is_imported_by_the_commands() -> None:
    code = (
        "import sys; from elysia_chat.training.xtuner import commands\n"
        "print([name for name in ('torch', 'xtuner', 'mmengine', 'transformers', 'jinja2') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.strip() == "[]"
