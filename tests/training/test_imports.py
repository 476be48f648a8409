import json
from pathlib import Path
from typing import Any

import pytest

from elysia_chat.training.dataset.imports import import_examples
from elysia_chat.training.errors import DataFileError

XTUNER = [{"conversation": [{"system": "S", "input": "q1", "output": "a1"}, {"input": "q2", "output": "a2"}]}]
OPENAI = {
    "messages": [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "content": "a"},
    ]
}
SHAREGPT = [{"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}]
ALPACA = [{"instruction": "do", "input": "this", "output": "done"}]


def write(path: Path, content: Any) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def test_xtuner_gives_an_example_for_each_answer(tmp_path: Path) -> None:
    first, second = import_examples(write(tmp_path / "d.json", XTUNER), "xtuner")
    assert [message["role"] for message in first.messages] == ["system", "user"]
    assert [message["content"] for message in second.messages] == ["S", "q1", "a1", "q2"]
    assert (first.answer, second.answer) == ("a1", "a2")


def test_openai_lines(tmp_path: Path) -> None:
    lines = json.dumps(OPENAI) + "\n\n" + json.dumps(OPENAI) + "\n"
    assert [item.answer for item in import_examples(write(tmp_path / "d.jsonl", lines), "openai")] == ["a", "a"]


def test_sharegpt_and_alpaca(tmp_path: Path) -> None:
    assert import_examples(write(tmp_path / "s.json", SHAREGPT), "sharegpt")[0].answer == "a"
    assert import_examples(write(tmp_path / "a.json", ALPACA), "alpaca")[0].messages[-1]["content"] == "do\nthis"


def test_text_by_paragraphs(tmp_path: Path) -> None:
    found = import_examples(write(tmp_path / "t.txt", "one\ntwo\n\n\nthree\n"), "text")
    assert [item.answer for item in found] == ["one\ntwo", "three"]


def test_workbook_with_named_columns(tmp_path: Path) -> None:
    from openpyxl import Workbook

    book = Workbook()
    book.active.append(["Frage", "Antwort"])
    book.active.append(["q", "a"])
    book.active.append([None, None])
    book.save(tmp_path / "w.xlsx")
    found = import_examples(tmp_path / "w.xlsx", "xlsx", {"question": "Frage", "answer": "Antwort"})
    assert [(item.messages[-1]["content"], item.answer) for item in found] == [("q", "a")]
    with pytest.raises(DataFileError, match="no column Reply; it has: Frage, Antwort"):
        import_examples(tmp_path / "w.xlsx", "xlsx", {"question": "Frage", "answer": "Reply"})
    with pytest.raises(DataFileError, match="question="):
        import_examples(tmp_path / "w.xlsx", "xlsx")


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("openai", '{"messages": [{"role": "user", "content": "q"}]}', "line 1: expected messages that alternate"),
        ("openai", json.dumps(OPENAI) + '\n{"messages": 3}', 'line 2: expected an object with "messages"'),
        ("openai", '{"messages": [{"role": "robot", "content": "q"}]}', "line 1: expected"),
        ("openai", "{broken", "line 1: no valid JSON"),
        ("sharegpt", [{"conversations": [{"from": "alien", "value": "q"}]}], "line 1: expected"),
        ("alpaca", [{"instruction": "do"}], 'line 1: expected an object with "instruction" and "output"'),
        ("xtuner", [{"conversation": [{"input": "q", "output": ""}]}], "line 1: expected questions and answers"),
        ("xtuner", [{"conversation": "no"}], "line 1: expected"),
        ("text", "   ", "holds no text"),
        ("weird", "[]", "Unknown data format 'weird'"),
    ],
)
def test_bad_files_are_named_with_line_and_what_was_expected(
    tmp_path: Path, kind: str, content: Any, message: str
) -> None:
    with pytest.raises(DataFileError, match=message):
        import_examples(write(tmp_path / "bad", content), kind)


def test_no_text_and_no_workbook(tmp_path: Path) -> None:
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataFileError, match="UTF-8"):
        import_examples(tmp_path / "x.bin", "openai")
    with pytest.raises(DataFileError, match="no XLSX workbook"):
        import_examples(write(tmp_path / "y.xlsx", "text"), "xlsx", {"question": "a", "answer": "b"})


def test_the_line_of_an_entry_in_a_written_out_list(tmp_path: Path) -> None:
    """Lists are mostly written over many lines: the number of the entry would not find it."""
    good = {"instruction": "do", "output": "done"}
    text = json.dumps([good, good, {"instruction": "do"}], indent=2)
    with pytest.raises(DataFileError, match='line 10: expected an object with "instruction"'):
        import_examples(write(tmp_path / "a.json", text), "alpaca")
    with pytest.raises(DataFileError, match="line 7: no valid JSON"):
        import_examples(
            write(
                tmp_path / "b.json",
                text.replace(
                    '"output": "done"\n  },\n  {\n    "instruction"', '"output": "done"\n  },\n  {\n    instruction', 1
                ),
            ),
            "alpaca",
        )
    with pytest.raises(DataFileError, match="expected a comma"):
        import_examples(write(tmp_path / "c.json", '[{"instruction": "do", "output": "done"}'), "alpaca")


def test_other_line_ends_within_a_text_are_no_new_lines(tmp_path: Path) -> None:
    record = {"messages": [{"role": "user", "content": "q\u2028r"}, {"role": "assistant", "content": "a\u0085b"}]}
    found = import_examples(write(tmp_path / "d.jsonl", json.dumps(record, ensure_ascii=False)), "openai")
    assert found[0].messages[-1]["content"] == "q\u2028r"


def test_texts_for_pre_training_in_xtuners_form(tmp_path: Path) -> None:
    entries = [{"conversation": [{"system": "", "input": "", "output": "A text."}]}]
    (text,) = import_examples(write(tmp_path / "p.json", entries), "xtuner")
    assert (text.kind, text.answer) == ("text", "A text.")


def test_answers_of_one_conversation_share_a_document(tmp_path: Path) -> None:
    found = import_examples(write(tmp_path / "d.json", XTUNER * 2), "xtuner")
    assert [item.documents for item in found] == [("d.json/1",)] * 2 + [("d.json/2",)] * 2


@pytest.mark.parametrize("kind", ["openai", "alpaca"])
def test_a_file_without_examples(tmp_path: Path, kind: str) -> None:
    with pytest.raises(DataFileError, match="holds no examples"):
        import_examples(write(tmp_path / "e.json", "[]"), kind)
