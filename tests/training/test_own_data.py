"""Imported data in a dataset: split by conversation, checked, and drawn."""

import json
from pathlib import Path

import pytest

from elysia_chat.training.commands import Import, adapter_folder, build_data, parse_model
from elysia_chat.training.dataset.checks import check_splits
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.handover_errors import EvaluationError
from elysia_chat.training.tokens import read_examples


def conversation(number: int) -> dict[str, object]:
    turns = [{"input": f"first {number}", "output": f"one {number}"}, {"input": "then", "output": f"two {number}"}]
    return {"conversation": turns}


def test_imported_conversations_are_split_whole_and_mixed_in(tmp_path: Path) -> None:
    file = tmp_path / "own.json"
    entries = [conversation(number) for number in range(30)]
    file.write_text(json.dumps([*entries, entries[0]]), encoding="utf-8")
    built = build_data("elysia", tmp_path / "out", size=40, imports=[Import(file, "xtuner")], test_share=0.2)
    train, test = (list(read_examples(tmp_path / "out" / name)) for name in ("train.jsonl", "test.jsonl"))
    own, own_test = ([item for item in part if item.kind == "imported"] for part in (train, test))
    assert len(own) + len(own_test) == 60, "the repeated conversation stands there once"
    assert own_test
    assert len(own) % 2 == len(own_test) % 2 == 0
    assert built.train == 40 + len(own)
    assert built.report.clean, built.report
    assert [item.kind for item in train[:40]].count("imported") > 5, "they are mixed, not appended"
    prompts = [
        json.loads(line) for line in (tmp_path / "out" / "prompts.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    assert prompts
    assert all(prompt["messages"][-1]["role"] == "user" for prompt in prompts)


def test_faults_are_found_with_their_lines() -> None:
    def example(asked: str, answer: str, kind: str = "imported") -> Example:
        return Example(kind, "en", [{"role": "user", "content": asked}], answer)

    train = [example("a", "1"), example("b", "2"), example("a", "3"), example("c", " "), example("d", "x" * 2001)]
    texts = [example("", "one", "text"), example("", "two", "text"), example("", "one", "text")]
    report = check_splits([*train, *texts], [example("b", "2")])
    assert report.places == {
        "duplicates": ["train.jsonl, line 3", "test.jsonl, line 1", "train.jsonl, line 8"],
        "contradictions": ["train.jsonl, line 1"],
        "empty_answers": ["train.jsonl, line 4"],
        "long_answers": ["train.jsonl, line 5"],
    }
    assert report.contradictions == 1


def test_models_are_named_in_few_words(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "adapter").mkdir(parents=True)
    (run / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    assert adapter_folder(run) == run / "adapter"
    alone = parse_model(f"tuned={run}")
    assert (alone.label, alone.model, alone.adapter) == ("tuned", None, run / "adapter")
    both = parse_model(f"some/model+{run}")
    assert (both.model, both.adapter, both.label) == ("some/model", run / "adapter", "adapter")
    bare = parse_model("embedded+none")
    assert (bare.label, bare.model, bare.adapter) == ("untuned", "gemma-3-270m", None)
    own = parse_model("embedded")
    assert own.adapter is not None
    assert own.adapter.name == "elysia"
    path = parse_model("some/model=strange")
    assert (path.model, path.label) == ("some/model=strange", "model=strange")
    with pytest.raises(EvaluationError, match="names no model"):
        parse_model("x=")
