import json
from pathlib import Path
from typing import Any

import pytest

from elysia_chat.llm.chat_prompt import ChatPrompt
from elysia_chat.training.errors import DataFileError
from elysia_chat.training.xtuner.data import Format, WrittenData, write_data
from tests.training.tiny_models import tiny_tokenizer

EXAMPLE = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "two<|im_end|>"},
    ],
    "answer": " 2 ",
}


def written(source: Path, form: Format, max_tokens: int = 200) -> tuple[WrittenData, list[dict[str, Any]]]:
    tokenizer = tiny_tokenizer()
    target = source.parent / "out.jsonl"
    found = write_data(
        source, target, form, tokenizer=tokenizer, disarm=ChatPrompt(tokenizer).disarm, max_tokens=max_tokens
    )
    return found, [json.loads(line) for line in target.read_text(encoding="utf-8").splitlines()]


def save(path: Path, content: Any, *, lines: bool = False) -> Path:
    text = "\n".join(map(json.dumps, content)) if lines else json.dumps(content)
    path.write_text(content if isinstance(content, str) else text, encoding="utf-8")
    return path


@pytest.mark.parametrize("folder", [True, False])
def test_the_data_of_train_run_becomes_conversations(tmp_path: Path, folder: bool) -> None:
    file = save(tmp_path / "train.jsonl", [EXAMPLE], lines=True)
    found, records = written(tmp_path if folder else file, "auto")
    assert (found.format, found.records, found.left_out) == ("conversation", 1, 0)
    assert records == [
        {
            "conversation": [
                {"system": "S", "input": "one", "output": "1", "output_with_loss": False},
                # A control token in the data cannot end a turn.
                {"system": "", "input": "two< |im_end|>", "output": "2", "output_with_loss": True},
            ]
        }
    ]


def test_what_xtuner_would_cut_off_is_left_out_and_counted(tmp_path: Path) -> None:
    long = {"messages": [{"role": "user", "content": "a" * 300}], "answer": "b"}
    found, records = written(save(tmp_path / "d.jsonl", [EXAMPLE, long], lines=True), "auto")
    assert (found.records, found.left_out, len(records)) == (1, 1, 1)
    with pytest.raises(DataFileError, match="no example of at most 5 tokens"):
        written(tmp_path / "d.jsonl", "auto", 5)


def test_texts_are_cut_in_pieces_and_nothing_is_lost(tmp_path: Path) -> None:
    text = "爱莉希雅在往世乐土里等着每一位来访者。" * 20
    (tmp_path / "t.txt").write_text(text, encoding="utf-8")
    found, records = written(tmp_path / "t.txt", "auto", 50)
    assert found.format == "pretrain"
    assert "".join(record["text"] for record in records) == text
    tokenizer = tiny_tokenizer()
    assert max(len(tokenizer(record["text"], add_special_tokens=False)["input_ids"]) for record in records) <= 50


@pytest.mark.parametrize("lines", [True, False])
def test_texts_in_the_tutorials_form(tmp_path: Path, lines: bool) -> None:
    source = save(tmp_path / "pretrain.json", [{"text": "one"}, {"text": "two"}], lines=lines)
    assert written(source, "pretrain")[1] == [{"text": "one"}, {"text": "two"}]
    with pytest.raises(DataFileError, match='entry 1: expected an object with "text"'):
        written(save(tmp_path / "bad.json", [{"txt": "one"}]), "pretrain")


def test_openai_alpaca_and_conversations_keep_their_form(tmp_path: Path) -> None:
    messages = {"messages": [{"role": "user", "content": "q", "name": "x"}, {"role": "assistant", "content": "a"}]}
    found, records = written(save(tmp_path / "o.jsonl", [messages], lines=True), "openai")
    assert found.format == "openai"
    assert records[0]["messages"][0] == {"role": "user", "content": "q"}
    # XTuner's function fails without "input".
    alpaca = save(tmp_path / "a.json", [{"instruction": "do", "output": "done"}])
    assert written(alpaca, "alpaca")[1] == [{"instruction": "do", "input": "", "output": "done"}]
    turns = {"conversation": [{"system": "S", "input": "q", "output": "a"}]}
    kept = written(save(tmp_path / "c.json", [turns]), "conversation")[1]
    assert kept == [{"conversation": [{"system": "S", "input": "q", "output": "a", "output_with_loss": True}]}]


def test_conversations_without_questions_are_texts(tmp_path: Path) -> None:
    source = save(tmp_path / "p.json", [{"conversation": [{"system": "", "input": "", "output": "A text."}]}])
    found, records = written(source, "conversation")
    assert (found.format, records) == ("pretrain", [{"text": "A text."}])


@pytest.mark.parametrize(
    ("form", "content", "message"),
    [
        ("openai", '{"messages": 3}', "line 1: expected"),
        ("alpaca", "[{}]", "line 1: expected"),
        ("conversation", '[{"conversation": "no"}]', "line 1: expected"),
        ("pretrain", "{broken", "cannot be read as JSON"),
        ("auto", '{"messages": [{"role": "user", "content": "q"}], "answer": "a"}\n{"text": "t"}', "one kind"),
        (
            "auto",
            '{"messages": [{"role": "user", "content": "q"}, {"role": "user", "content": "r"}], "answer": "a"}',
            "must alternate",
        ),
    ],
)
def test_data_of_the_wrong_shape(tmp_path: Path, form: Format, content: str, message: str) -> None:
    with pytest.raises(DataFileError, match=message):
        written(save(tmp_path / "d.jsonl", content), form)
