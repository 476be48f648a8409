import json
from pathlib import Path

import pytest

from elysia_chat.chains.errors import QuestionFileError
from elysia_chat.chains.evaluation import evaluate, holds_one_of, load_questions
from elysia_chat.chains.language import detect_language

from .parts import passage

SAKURA, EDEN = passage("樱的妹妹是铃。", "sakura.md"), passage("伊甸是歌者。", "eden.md")
ANSWERS = {
    "妹妹？": "是 铃 哦 [2]。",
    "歌者？": "我不知道呢。",
    "编号？": "是５号 [1]。",
    "没有？": "资料里没有提到，我不知道呢。",
    "瞎编？": "是七个。",
}


def write(path: Path, data: object) -> Path:
    path.write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")
    return path


def test_counts_are_right(tmp_path: Path):
    questions = load_questions(
        write(
            tmp_path / "q.json",
            {
                "answerable": [
                    {"q": "妹妹？", "any_of": ["铃"], "source": "sakura.md"},
                    {"q": "歌者？", "any_of": ["伊甸", "不知道"], "source": "eden.md"},
                    {"q": "编号？", "any_of": ["5号"], "source": "gone.md"},
                ],
                "unanswerable": ["没有？", "瞎编？"],
            },
        )
    )
    steps: list[tuple[int, int]] = []
    report = evaluate(
        questions,
        lambda asked: {"answer": ANSWERS[asked["question"]], "source_documents": [EDEN, SAKURA]},
        lambda question, k: [EDEN, SAKURA],
        lambda done, total: steps.append((done, total)),
    )
    assert report["recall"] == {"1": 0.3333, "3": 0.6667, "5": 0.6667}
    assert report["answered"] == 0.6667, "a refusal is never a right answer, whatever words it holds"
    assert report["wrongly_refused"] == 0.3333
    assert report["refused"] == 0.5
    assert report["cited"] == 0.5
    assert [row["right"] for row in report["rows"] if row["answerable"]] == [True, False, True]
    assert steps[-1] == (5, 5)


def test_without_questions_there_is_no_share(tmp_path: Path):
    report = evaluate(load_questions(write(tmp_path / "q.json", {})), lambda asked: {"answer": ""})
    assert report["answered"] is None
    assert report["recall"]["1"] is None


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"answerable": [{"q": "a", "any_of": []}]}', r"answerable\.0\.any_of"),
        ('{"answerable": [{"question": "a"}]}', r"answerable\.0"),
        ('{"unanswerable": "q"}', "unanswerable"),
        ("{", "Cannot read"),
        ("[]", "expected 'answerable'"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, content: str, message: str):
    path = tmp_path / "q.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(QuestionFileError, match=message) as caught:
        load_questions(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file(tmp_path: Path):
    with pytest.raises(QuestionFileError, match="Cannot read"):
        load_questions(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("answer", "accepted", "right"),
    [
        ("They often sing", ["ten"], False),
        ("Room 112", ["12"], False),
        ("十二点到12时", ["12"], True),
        ("frozen in 1 999", ["1999"], True),
        ("住在Arc Bay边", ["arc bay"], True),
        ("她有 ３７ 只猫", ["37"], True),
        ("Mei-Ling's CAT", ["mei-ling"], True),
        ("见 [3]", ["3"], False),
    ],
)
def test_holds_one_of(answer: str, accepted: list[str], right: bool):
    assert holds_one_of(answer, accepted) is right


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Elysia 是谁", "zh"),
        ("who is 樱?", "en"),
        ("?!", "zh"),
        ("爱莉", "zh"),
        ("Who is 爱莉希雅?", "en"),
        ("The Elysian Realm 在哪里", "zh"),
        ("Mei 呢？", "zh"),
        ("Elysian Realm", "en"),
        ("What does 往世乐土 mean here?", "en"),
    ],
)
def test_detect_language(text: str, language: str):
    assert detect_language(text) == language
