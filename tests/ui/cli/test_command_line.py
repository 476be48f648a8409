import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.testing import CliRunner

from elysia_chat.ui.cli.app import app
from tests.ui.cli.conftest import Command, parsed

COMMANDS = [
    "web", "chat", "ask", "ingest", "search", "personas list", "personas new", "models list", "models add",
    "models info", "models remove", "doctor", "eval qa",
]  # fmt: skip
HEAVY = {"torch", "transformers", "chromadb", "gradio", "sentence_transformers", "jieba", "langchain_core", "numpy"}


@pytest.mark.parametrize("words", ["", *COMMANDS])
def test_help_names_the_shared_options(words: str):
    result = CliRunner().invoke(app, [*words.split(), "--help"])
    assert result.exit_code == 0
    for option in ("--json", "--settings", "--set", "--debug"):
        assert option in result.stdout


@pytest.mark.parametrize("words", ["--help", "ask --help", "--version"])
def test_help_loads_nothing_heavy(words: str):
    code = (
        "import sys\n"
        f"sys.argv = ['elysia-chat', *{words.split()!r}]\n"
        "from elysia_chat.ui.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit as ended:\n    assert ended.code == 0, ended.code\n"
        "print(*{name.partition('.')[0] for name in sys.modules}, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout
    assert not HEAVY & set(done.stderr.split())


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == f"elysia-chat {version('elysia-chat')}\n"


def test_global_options_count_before_and_after_the_command(lore):
    options = ["--settings", "fake", "--json", "--set", "persona=mini", "--set", "retrieval.k=1"]
    question = ["search", "teapot"]
    orders = ([*options, *question], [*question, *options], [*options[:3], *question, *options[3:]])
    found = [parsed(CliRunner().invoke(app, order)) for order in orders]
    assert found[0] == found[1] == found[2]
    assert [passage["document"] for passage in found[0]["passages"]] == ["mini.md"]


def test_the_later_of_two_settings_wins(command: Command):
    result = command("--set", "retrieval.k=2", "search", "teapot", "--set", "retrieval.k=1", "--json")
    assert len(parsed(result)["passages"]) == 1


@pytest.mark.parametrize(
    ("words", "kind", "parts"),
    [
        (["ask", "hi", "--persona", "nobody"], "UnknownPersonaError", ["nobody", "elysia", "mini"]),
        (["ask", "hi", "--set", "retrieval.kk=1"], "SettingsError", ["retrieval.kk", "candidates"]),
        (["ask", "hi", "--settings", "nope"], "SettingsError", ["nope", "fake", "openai"]),
        (["ask", "hi", "--set", "model_preset=nope"], "SettingsError", ["nope", "embedded"]),
        (["ask", "hi", "--no-rag", "--set", "model={kind: transformers, name: x}"], "UnknownModelError", ["gemma"]),
        (["ask", "  "], "MessageError", []),
        (["ingest", "no/such/file.md"], "MissingPathError", ["no/such/file.md"]),
        (["eval", "qa", "no-such.json"], "QuestionFileError", ["no-such.json"]),
        (["personas", "new", "///"], "UnsafeNameError", ["///"]),
        (["personas", "new", "Mini"], "PersonaExistsError", ["mini"]),
    ],
)  # fmt: skip
def test_errors_are_one_line_and_exit_1(command: Command, words: list[str], kind: str, parts: list[str]):
    plain = command(*words)
    assert (plain.exit_code, plain.stdout) == (1, "")
    (line,) = [line for line in plain.stderr.splitlines() if line.startswith("Error: ")]
    assert all(part in line for part in parts)
    assert "Traceback" not in plain.stderr
    told = command(*words, "--json")
    assert told.exit_code == 1
    assert parsed(told) == {"error": {"type": kind, "message": line.removeprefix("Error: ")}}


@pytest.mark.parametrize("words", [["ask"], ["nope"], ["search", "x", "-k", "0"], ["ask", "a", "b"], ["ask", "--nope"]])
def test_a_command_line_that_cannot_be_understood_exits_2(command: Command, words: list[str]):
    plain = command(*words)
    assert (plain.exit_code, plain.stdout) == (2, "")
    told = command("--json", *words)
    assert told.exit_code == 2
    assert parsed(told)["error"]["type"] == "UsageError"


@pytest.mark.parametrize(("words", "env"), [(["--debug"], {}), ([], {"ELYSIA_CHAT_DEBUG": "1"})])
def test_debug_shows_the_traceback_with_its_cause(command: Command, tmp_path, words: list[str], env: dict[str, str]):
    broken = tmp_path / "broken.json"
    broken.write_text("{", encoding="utf-8")
    result = command("eval", "qa", str(broken), *words, env=env)
    assert result.exit_code == 1
    assert "JSONDecodeError" in result.stderr
    assert "QuestionFileError" in result.stderr
