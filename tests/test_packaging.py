"""The repository as a distribution: what is built is what is there."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import REPOSITORY

FOLDERS = ("chains", "configs", "ingest", "kb", "llm", "training", "ui", "voice")
HEAVY = ("torch", "transformers", "sentence_transformers", "chromadb", "gradio", "peft", "bitsandbytes", "jieba")
NO_PART_OF_IT = ("__pycache__", ".venv", "build", "dist", "node_modules")
ENVIRONMENT = {**os.environ, "PYTHONWARNINGS": "default"}


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def tracked() -> list[str]:
    """The files of the repository, by path."""
    if not (REPOSITORY / ".git").exists() or shutil.which("git") is None:
        pytest.skip("not a checkout: git cannot tell which files belong to the repository")
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return [path for path in listed.stdout.split("\0") if path and (REPOSITORY / path).is_file()]


@pytest.fixture(scope="module")
def built(tracked: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked wheel, built from a copy of the repository's files alone."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for path in tracked:
        if not path.startswith(("tests/", "benchmarks/")):
            (source / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(REPOSITORY / path, source / path)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    subprocess.run([sys.executable, "-c", code, str(out)], cwd=source, check=True, capture_output=True, env=ENVIRONMENT)
    (wheel,) = out.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(out / "content")
    return out / "content"


def packages_on_disk() -> dict[str, str]:
    """Every folder that holds Python files, by the name it should be imported under."""
    found = {}
    for top in FOLDERS:
        for folder in (REPOSITORY / top, *(path for path in (REPOSITORY / top).rglob("*") if path.is_dir())):
            relative = folder.relative_to(REPOSITORY)
            if not set(relative.parts) & set(NO_PART_OF_IT) and (any(folder.glob("*.py")) or folder.name == top):
                found[".".join(("elysia_chat", *relative.parts))] = relative.as_posix()
    return found


def test_every_folder_with_code_is_a_package_of_the_build(project: dict[str, Any]):
    # A subfolder that is not listed is left out of the wheel without a word.
    assert sorted(project["tool"]["setuptools"]["packages"]) == sorted(packages_on_disk())
    assert project["tool"]["setuptools"]["package-dir"] == packages_on_disk()


def test_no_folder_of_the_namespace_is_missing_here():
    tops = {path.parent.name for path in REPOSITORY.glob("*/__init__.py")} - {"tests", "benchmarks"}
    assert tops <= set(FOLDERS)


def test_the_wheel_holds_every_file_of_the_packages(tracked: list[str], built: Path):
    wanted = {
        f"elysia_chat/{path}"
        for path in tracked
        if path.startswith(tuple(f"{folder}/" for folder in FOLDERS)) and Path(path).name != ".gitignore"
    }
    there = {path.relative_to(built).as_posix() for path in (built / "elysia_chat").rglob("*") if path.is_file()}
    assert there == wanted


def test_the_wheel_holds_what_people_look_for(built: Path):
    inside = built / "elysia_chat"
    for pattern in (
        "configs/app/fake.yaml",
        "configs/models/embedded.yaml",
        "kb/personas/elysia/card.json",
        "kb/personas/elysia/picture.png",
        "kb/personas/elysia/lore/*.md",
        "ui/web/assets/*",
        "*/py.typed",
    ):
        assert list(inside.glob(pattern)), pattern
    names = {path.name for path in next(built.glob("*.dist-info")).rglob("*")}
    assert {"LICENSE", "NOTICE", "entry_points.txt"} <= names
    # Nothing of a generic name such as `llm` or `ui` may reach site-packages.
    assert [path.name for path in built.iterdir() if not path.name.endswith(".dist-info")] == ["elysia_chat"]


def test_the_wheel_works_where_there_is_no_repository(built: Path, tmp_path: Path):
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from elysia_chat.configs.loader import presets\n"
        "from elysia_chat.kb.personas import load_persona\n"
        "persona = load_persona('elysia')\n"
        "print(persona.card.__class__.__module__, sys.modules['elysia_chat.kb'].__file__)\n"
        "print(len(persona.documents()), persona.picture is not None, 'fake' in presets())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(built)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    where, found = done.stdout.splitlines()
    assert str(built) in where
    count, picture, preset = found.split()
    assert int(count) >= 30
    assert (picture, preset) == ("True", "True")


def test_importing_any_package_loads_nothing_heavy():
    names = [name for name, path in packages_on_disk().items() if (REPOSITORY / path / "__init__.py").is_file()]
    code = (
        "import importlib, json, sys\n"
        "for name in json.loads(sys.argv[1]): importlib.import_module(name)\n"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code, json.dumps(names)], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in json.loads(done.stdout)}
    assert not loaded & set(HEAVY)


def test_the_layers_hold(built: Path):
    if importlib.util.find_spec("importlinter") is None:
        pytest.skip("import-linter is not installed: make dev")
    code = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    config = ("--no-cache", "--no-logo", "--config", str(REPOSITORY / "pyproject.toml"))
    done = subprocess.run(
        [sys.executable, "-c", code, *config],
        cwd=built,
        env={**os.environ, "PYTHONPATH": str(built)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"(\d+) kept, 0 broken", done.stdout)


def names_of(requirements: list[str]) -> set[str]:
    found = {re.match(r"[\w.-]+", requirement)[0].lower() for requirement in requirements}  # type: ignore[index]
    return found - {"elysia-chat"}


def test_every_dependency_is_pinned_and_has_its_reason(project: dict[str, Any]):
    declared = {"": project["project"]["dependencies"], **project["project"]["optional-dependencies"]}
    pins = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8")
    pinned = {line.partition("==")[0].lower() for line in pins.splitlines() if "==" in line and line[0] != "#"}
    reasons = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")
    explained = {name.lower() for name in re.findall(r"^\| ([\w.-]+) \| \S", reasons, re.MULTILINE)}
    wanted = set().union(*map(names_of, declared.values()))
    assert {name.replace("_", "-") for name in wanted} <= {name.replace("_", "-") for name in pinned}
    assert explained - {"package", "---"} == wanted


def test_pins_have_no_local_version():
    # A pin such as torch==2.13.0+cpu could be installed on some machines only.
    for line in (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert line.startswith("#") or re.fullmatch(r"[\w.-]+==[\w.]+", line), line


def test_the_licence_is_whole():
    text = (REPOSITORY / "LICENSE").read_text(encoding="utf-8")
    assert "Version 2.0, January 2004" in text
    assert [number for number in range(1, 10) if not re.search(rf"^   {number}\. ", text, re.MULTILINE)] == []
    assert "END OF TERMS AND CONDITIONS" in text
    notice = (REPOSITORY / "NOTICE").read_text(encoding="utf-8")
    # Wording that the Gemma terms ask for.
    assert "Gemma is provided under and subject to the Gemma Terms of Use found at ai.google.dev/gemma/terms" in notice
    assert "multilingual-e5-small" in notice
    assert "miHoYo" in notice


@pytest.mark.parametrize("readme", ["README.md", "README.zh-CN.md"])
def test_the_readme_names_what_is_there(readme: str):
    text = (REPOSITORY / readme).read_text(encoding="utf-8")
    assert "make chat" in text
    assert "make test" in text
    for target in re.findall(r"\]\(([^)#:\s]+)\)", text) + re.findall(r'src="([^":]+)"', text):
        assert (REPOSITORY / target).exists(), target


def test_make_without_a_target_lists_them():
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    done = subprocess.run(["make"], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    for target in ("chat", "test", "check", "bench", "clean"):
        assert re.search(rf"^  make {target} +\S", done.stdout, re.MULTILINE)


def test_make_refuses_a_python_that_is_too_old(tmp_path: Path):
    if shutil.which("make") is None:
        pytest.skip("make is not installed")
    old = tmp_path / "python3"
    old.write_text('#!/bin/sh\ncase "$2" in *platform*) echo 3.8.18 ;; *) exit 1 ;; esac\n', encoding="utf-8")
    old.chmod(0o755)
    words = ["make", "chat", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}"]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert f"Elysia Chat needs Python 3.11 or 3.12, and {old} is 3.8.18." in done.stderr
    assert not (tmp_path / "venv").exists()
