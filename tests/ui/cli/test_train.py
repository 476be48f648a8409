"""From a persona to a model to hand over, by the commands alone, on fakes and a tiny model."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.tiny_models import save_model, tiny_llama
from tests.ui.cli.conftest import Command, parsed

pytest.importorskip("bitsandbytes")

TINY = [
    "train.device=cpu", "model.dtype=float32", "model.bits=16", "lora.r=4", "lora.alpha=8", "train.accumulation=1",
    "train.log_steps=1", "train.save_steps=1", "data.max_tokens=6000", "train.batch_tokens=6000",
    "data.test_sequences=2", "evaluate.limit=2", "evaluate.max_new_tokens=4",
]  # fmt: skip
QUESTIONS = {
    "answerable": [{"q": "Where does Mini live?", "any_of": ["teapot"], "source": "mini.md"}],
    "unanswerable": ["What does Mini weigh?"],
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tiny_llama(max_position_embeddings=8192), tmp_path / "tiny-base")


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "mini-questions.json"
    path.write_text(json.dumps(QUESTIONS), encoding="utf-8")
    return path


def test_four_commands_from_a_persona_to_a_merged_model(
    command: Command, base: Path, questions: Path, tmp_path: Path
) -> None:
    data, run, report, merged = (tmp_path / name for name in ("data", "run", "report", "merged"))

    built = parsed(
        command("train", "dataset", "mini", "--out", str(data), "--size", "60", "--test-share", "0.1", "--json")
    )
    assert (built["train"], built["test"]) == (60, 6)
    assert built["report"]["clean"], built["report"]
    assert {path.name for path in data.iterdir()} == {
        "train.jsonl", "test.jsonl", "prompts.jsonl", "report.json", "manifest.json", "lengths.png", "kinds.png",
    }  # fmt: skip

    words = ["train", "run", "internlm2-chat-1.8b-qlora", f"data.train={data}", f"model.name={base}", *TINY]
    trained = command(*words, "train.max_steps=2", "--out", str(run), "--json")
    facts = parsed(trained)
    assert (facts["steps"], facts["examples"], facts["base"]) == (2, 60, "tiny-base")
    assert facts["held_out_loss"] > 0
    assert "step 1 of 2: loss" in trained.stderr
    assert (run / "answers.jsonl").is_file()
    assert Path(facts["adapter"]) == run / "adapter"

    words = ["train", "evaluate", "--questions", str(questions), "--limit", "1", "--max-new-tokens", "4"]
    models = ["--model", f"untuned={base}", "--model", f"tuned={base}+{run}", "--sweep", str(run)]
    told = parsed(command(*words, *models, "--out", str(report), "--json"))
    assert [(one["label"], one["arm"]) for one in told["runs"]] == [
        (label, arm)
        for label in ("untuned", "tuned", f"checkpoint-{told['sweep']['best_step']}")
        for arm in ("rag", "plain")
    ]
    assert [row["step"] for row in told["sweep"]["rows"]] == [1, 2]
    assert told["prompts"]["mini-questions/answerable/rag"] == 1
    assert "rows" not in told["runs"][0]["figures"]
    assert {path.name for path in report.iterdir()} == {
        "prepared.json", "answers", "report.json", "report.md", "comparison.png", "sweep.png",
    }  # fmt: skip

    done = parsed(
        command("train", "merge", str(run), "--base", str(base), "--out", str(merged), "--gguf", "q8_0", "--json")
    )
    assert done["into"] == "16-bit"
    assert done["difference"]["mean_kl"] < 0.1
    assert (merged / "merged-q8_0.gguf").stat().st_size == done["gguf"][0]["bytes"]

    answered = command("ask", "Who are you?", "--no-rag", "--set", f"model={{kind: transformers, name: {merged}}}",
                       "--set", "generation.max_new_tokens=3", "--json")  # fmt: skip
    assert parsed(answered)["question"] == "Who are you?"

    published = ["train", "push", str(merged), "me/mini", "--base", "someone/tiny", "--licence", "apache-2.0"]
    plan = parsed(command(*published, "--report", str(report), "--dry-run", "--json"))
    assert plan["url"] is None
    assert "tuned, with retrieval" in plan["card"]


def test_answers_of_another_machine_are_scored(command: Command, base: Path, questions: Path, tmp_path: Path) -> None:
    first, second, both = (str(tmp_path / name) for name in ("first", "second", "both"))
    words = ["train", "evaluate", "--questions", str(questions), "--limit", "1", "--out", first]
    shown = command(*words, "--prepare-only")
    assert "prepared.json" in shown.stdout
    prepared = ["--prepared", f"{first}/prepared.json", "--max-new-tokens", "3"]
    command("train", "evaluate", *prepared, "--model", f"a={base}", "--out", second)
    told = parsed(command("train", "evaluate", *prepared, "--answers", f"{second}/answers/a.json",
                          "--model", f"b={base}", "--out", both, "--json"))  # fmt: skip
    assert [one["label"] for one in told["runs"]] == ["a", "a", "b", "b"]
    assert told["runs"][0]["figures"] == told["runs"][2]["figures"]


def test_a_world_of_its_own_is_searched(command: Command, tmp_path: Path) -> None:
    world = tmp_path / "island"
    (world / "documents").mkdir(parents=True)
    (world / "documents" / "ferry.md").write_text("# Ferry\n\nThe ferry goes on Mondays.\n", encoding="utf-8")
    asked = {"answerable": [{"q": "When does the ferry go?", "any_of": ["Monday"], "source": "ferry.md"}]}
    (world / "questions.json").write_text(json.dumps(asked), encoding="utf-8")
    out = tmp_path / "out"
    words = ["train", "evaluate", "--world", str(world), "--prepare-only", "--rag", "--out", str(out), "--json"]
    assert parsed(command(*words))["runs"] == []
    items = json.loads((out / "prepared.json").read_text(encoding="utf-8"))["items"]
    (item,) = [item for item in items if item["set"] == "island"]
    assert item["found"][0] == "ferry.md"
    assert "The ferry goes on Mondays." in item["messages"][-1]["content"]
    (world / "questions.json").unlink()
    assert parsed(command(*words))["error"]["type"] == "MissingPathError"


def test_own_data_alone(command: Command, tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["Frage", "Antwort"])
    for number in range(8):
        book.active.append([f"q{number}", f"a{number}"])
    book.save(tmp_path / "own.xlsx")
    (tmp_path / "book.txt").write_text("First paragraph.\n\nSecond paragraph.\n", encoding="utf-8")
    out = tmp_path / "data"
    words = ["train", "dataset", "--out", str(out), "--size", "0", "--import", f"{tmp_path / 'own.xlsx'}:xlsx"]
    columns = ["--column", "question=Frage", "--column", "answer=Antwort"]
    told = parsed(command(*words, *columns, "--import", f"{tmp_path / 'book.txt'}:text", "--test-share", "0", "--json"))
    assert (told["train"], told["test"], told["persona"]) == (10, 0, "mini")
    assert told["report"]["kinds"] == {"imported": 8, "text": 2}


def test_presets_are_listed(command: Command) -> None:
    listed = {row["name"]: row for row in parsed(command("train", "presets", "--json"))["presets"]}
    assert listed["internlm2-chat-7b-qlora"]["bits"] == 4
    assert "embedded-cpu" in command("train", "presets").stdout


@pytest.mark.parametrize(
    ("words", "kind", "parts"),
    [
        (["dataset", "nobody", "--out", "d"], "UnknownPersonaError", ["nobody", "mini"]),
        (["dataset", "--out", "d", "--size", "9", "--mix", "tlak=3"], "DatasetError", ["tlak", "talk"]),
        (["dataset", "--out", "d", "--size", "0"], "DatasetError", ["size of at least 1"]),
        (["dataset", "--out", "d", "--import", "none.json:openai"], "DataFileError", ["none.json"]),
        (["dataset", "--out", "d", "--import", "x.json:word"], "DataFileError", ["word", "sharegpt"]),
        (["run", "nope", "--out", "r"], "PresetError", ["nope", "embedded-cpu"]),
        (["run", "embedded-cpu", "--out", "r"], "PresetError", ["No data", "train dataset"]),
        (["run", "embedded-cpu", "train.stepz=3", "--out", "r"], "PresetError", ["train.stepz", "max_steps"]),
        (["evaluate", "--model", "nowhere", "--prepared", "p.json", "--out", "r"], "EvaluationError", ["p.json"]),
        (["evaluate", "--model", "=", "--prepared", "p.json", "--out", "r"], "EvaluationError", ["label=name"]),
        (["merge", "nowhere", "--out", "m"], "CheckpointError", ["nowhere", "adapter_config.json"]),
        (["gguf", "nowhere", "--out", "m.gguf"], "ModelLoadError", ["nowhere"]),
        (["push", "nowhere", "me/it", "--dry-run"], "PushError", ["nowhere"]),
        (["push", ".", "me", "--dry-run"], "PushError", ["owner/name"]),
    ],
)  # fmt: skip
def test_errors_are_one_line(
    command: Command, words: list[str], kind: str, parts: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    plain = command("train", *words)
    assert (plain.exit_code, plain.stdout) == (1, "")
    (line,) = [line for line in plain.stderr.splitlines() if line.startswith("Error: ")]
    assert all(part in line for part in parts), line
    assert parsed(command("train", *words, "--json")) == {
        "error": {"type": kind, "message": line.removeprefix("Error: ")}
    }


@pytest.mark.parametrize("name", ["dataset", "presets", "run", "evaluate", "merge", "gguf", "push"])
def test_help_names_the_shared_options(command: Command, name: str) -> None:
    shown = command("train", name, "--help").stdout
    assert all(option in shown for option in ("--json", "--settings", "--set", "--debug"))


@pytest.mark.parametrize(
    "words",
    [
        ["dataset"],
        ["dataset", "a", "--persona", "b", "--out", "d"],
        ["dataset", "--out", "d", "--import", "x.json"],
        ["dataset", "--out", "d", "--mix", "talk"],
        ["dataset", "--out", "d", "--mix", "talk=much"],
        ["run", "embedded"],
        ["evaluate", "--out", "r"],
        ["evaluate", "--out", "r", "--model", "x", "--bits", "3"],
        ["merge", "a"],
        ["merge", "a", "--out", "b", "--name", "c"],
        ["merge", "a", "--name", "../c"],
        ["merge", "a", "--out", "b", "--gguf", "q9"],
    ],
)
def test_a_command_line_that_cannot_be_understood_exits_2(command: Command, words: list[str]) -> None:
    told = command("train", *words, "--json")
    assert told.exit_code == 2, told.output
    assert parsed(told)["error"]["type"] == "UsageError"


def test_two_models_of_one_label(command: Command, base: Path, questions: Path, tmp_path: Path) -> None:
    words: list[Any] = ["train", "evaluate", "--questions", questions, "--limit", "1", "--out", tmp_path / "r"]
    told = command(*map(str, words), "--model", f"a={base}", "--model", f"a={base}", "--json")
    assert "Two models are called a" in parsed(told)["error"]["message"]
