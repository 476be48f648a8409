"""The commands that need no XTuner: what they write, and the one line that each says where it is missing."""

from pathlib import Path

import pytest

from tests.training.test_run import write_data
from tests.training.tiny_models import save_model, tiny_llama
from tests.ui.cli.conftest import Command, parsed

SMALL = ("data.max_tokens=200", "train.batch_tokens=200", "train.epochs=4")


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    base = save_model(tiny_llama(), tmp_path / "tiny-llama")
    data = write_data(tmp_path / "data.jsonl")
    places = [f"model.name={base}", f"data.train={data}", *SMALL, "--out", str(tmp_path / "run")]
    return ["train", "xtuner", "config", "internlm2-chat-1.8b-qlora", *places]


def test_a_config_is_written_and_its_next_step_named(command: Command, words: list[str], tmp_path: Path) -> None:
    result = command(*words)
    assert result.exit_code == 0, result.output
    assert f"Next: elysia-chat train xtuner train {tmp_path / 'run'}" in result.stdout
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert names == {"base", "config.py", "data.jsonl", "data.json", "run.json", "training.yaml"}
    again = command(*words)
    assert again.exit_code == 1
    assert "exists already" in again.stderr
    data = parsed(command(*words, "--overwrite", "--json"))
    assert (data["format"], data["records"], data["bits"], data["internlm2"]) == ("conversation", 24, 4, False)


@pytest.mark.parametrize("name", ["check", "train", "convert", "merge"])
def test_without_the_environment_one_line_says_how_to_build_it(
    command: Command, words: list[str], tmp_path: Path, name: str
) -> None:
    command(*words)
    run = tmp_path / "run"
    (run / "work").mkdir()
    (run / "adapter-xtuner").mkdir()
    (run / "work" / "iter_1.pth").touch()
    extra = {"train": ["--resume"], "merge": ["--out", str(tmp_path / "merged")]}.get(name, [])
    result = command("train", "xtuner", name, str(run), *extra)
    assert result.exit_code == 1
    assert "XTuner's environment is not there: build it with `elysia-chat train xtuner setup`" in result.stderr


def test_a_folder_that_is_no_run(command: Command, tmp_path: Path) -> None:
    result = command("train", "xtuner", "train", str(tmp_path))
    assert result.exit_code == 1
    assert "is no run of XTuner: make one with `elysia-chat train xtuner config" in result.stderr


def test_an_unknown_launcher_and_a_chat_in_json(command: Command, tmp_path: Path) -> None:
    assert command("train", "xtuner", "train", str(tmp_path), "--launcher", "ssh").exit_code == 2
    assert command("train", "xtuner", "chat", str(tmp_path), "--json").exit_code == 2


def test_a_python_that_does_not_fit(command: Command, tmp_path: Path) -> None:
    result = command("train", "xtuner", "setup", "--python", str(tmp_path / "python"))
    assert result.exit_code == 1
    assert "is not Python 3.11 or 3.12 with its modules venv and ensurepip" in result.stderr
