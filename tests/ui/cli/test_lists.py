import json
from pathlib import Path

import pytest

from elysia_chat.configs.loader import presets
from tests.ui.cli.conftest import Command, parsed


def test_personas_list(command: Command):
    personas = {persona["name"]: persona for persona in parsed(command("personas", "list", "--json"))["personas"]}
    assert set(personas) == {"elysia", "mini"}
    assert (personas["mini"]["documents"], personas["mini"]["default"]) == (2, True)
    assert personas["elysia"]["documents"] >= 30
    shown = command("personas", "list").stdout
    assert "爱莉希雅" in shown
    assert "mini" in shown


def test_a_new_persona_can_be_asked_at_once(command: Command):
    made = parsed(command("personas", "new", "Big Su", "--json"))
    assert made["name"] == "big-su"
    assert (Path(made["folder"]) / "card.json").is_file()
    assert parsed(command("ask", "Who are you?", "--persona", "big-su", "--json"))["sources"]


def test_models_list(command: Command):
    listed = parsed(command("models", "list", "--json"))
    assert {model["name"] for model in listed["models"] if model["preset"]} == set(presets("model"))
    assert listed["chosen"]["kind"] == "scripted"
    assert "gemma-3-270m" in command("models", "list").stdout


def test_every_listed_setting_is_one(command: Command):
    for model in parsed(command("models", "list", "--json"))["models"]:
        assert command("personas", "list", "--set", model["setting"]).exit_code == 0


QUESTIONS = {
    "answerable": [
        {"q": "Where does Mini live?", "any_of": ["teapot"], "source": "mini.md"},
        {"q": "铃的生日是哪天？", "any_of": ["六月"], "source": "铃.md"},
    ],
    "unanswerable": ["What does Mini weigh?"],
}
REPLIES = "--set=model.replies=['In a teapot [1].', '五月三日 [1]。', 'I do not know; my lore does not say.']"


@pytest.fixture
def questions(tmp_path: Path) -> str:
    path = tmp_path / "questions.json"
    path.write_text(json.dumps(QUESTIONS), encoding="utf-8")
    return str(path)


def test_eval_qa(command: Command, questions: str):
    result = command("eval", "qa", questions, REPLIES, "--json")
    data = parsed(result)
    assert data["recall"] == {"1": 1.0, "3": 1.0, "5": 1.0}
    assert (data["answered"], data["refused"], data["wrongly_refused"]) == (0.5, 1.0, 0.0)
    assert data["counts"] == {"answerable": 2, "unanswerable": 1}
    assert [row["q"] for row in data["rows"]] == ["Where does Mini live?", "铃的生日是哪天？", "What does Mini weigh?"]
    assert "asking" in result.stderr


def test_eval_qa_in_words_shows_what_failed(command: Command, questions: str):
    shown = command("eval", "qa", questions, REPLIES).stdout
    assert "铃的生日是哪天？" in shown
    assert "Where does Mini live?" not in shown
    assert "50.0%" in shown
    assert "2 answerable, 1 unanswerable, 1 failed" in shown


def test_eval_qa_without_lore_measures_no_recall(command: Command, questions: str):
    data = parsed(command("eval", "qa", questions, REPLIES, "--no-rag", "--json"))
    assert data["recall"] == {"1": None, "3": None, "5": None}
    assert data["answered"] == 0.5
