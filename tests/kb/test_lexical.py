import sqlite3
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.lexical import LexicalIndex

from .conftest import make_chunks


@pytest.fixture(params=["file", "memory"])
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[LexicalIndex]:
    made = LexicalIndex(tmp_path / "words.sqlite3" if request.param == "file" else None)
    made.upsert(make_chunks())
    yield made
    made.close()


def best(index: LexicalIndex, query: str) -> str:
    found = index.search(query, 3)
    return found[0][0].text if found else ""


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("她的生日是哪一天？", "她的生日是十一月十一日。"),
        ("who is the LEADER", "Kevin is the leader of the Flame-Chasers."),
        ("leaders", "Kevin is the leader of the Flame-Chasers."),
        ("Ｋｅｖｉｎ的身体 cold", "His body is as cold as ice."),
        ("谁带着颜料", "格蕾修喜欢画画，总是带着颜料。"),
        ("英桀里谁的年纪小", "她是英桀里年纪最小的一位。"),
    ],
)
def test_the_passage_with_the_rare_words_comes_first(index: LexicalIndex, query: str, text: str):
    assert best(index, query) == text


def test_scores_are_positive_and_fall(index: LexicalIndex):
    scores = [score for _, score in index.search("爱莉希雅 生日 花", 10)]
    assert len(scores) > 1
    assert scores == sorted(scores, reverse=True)
    assert min(scores) > 0


@pytest.mark.parametrize(
    "query",
    [
        '"',
        "'",
        "AND",
        "OR NOT",
        "NEAR(a b)",
        "生日*",
        "body:生日",
        "(生日",
        "^生日",
        "a-b + c",
        "{x}",
        "生日; DROP TABLE chunks",
        "%",
        "\\",
    ],
)
def test_no_character_of_a_query_has_a_meaning(index: LexicalIndex, query: str):
    found = index.search(query, 5)
    assert ("生日" in query) == any("生日" in chunk.text for chunk, _ in found)
    assert index.count() == len(make_chunks())


@settings(max_examples=60, deadline=None)
@given(query=st.text(max_size=60))
def test_no_query_fails(query: str):
    index = LexicalIndex(None)
    index.upsert(make_chunks())
    index.search(query, 3)
    index.close()


@pytest.mark.parametrize("query", ["", "   ", "，。？！", "\x00", "♪"])
def test_a_query_without_words_finds_nothing(index: LexicalIndex, query: str):
    assert index.search(query, 5) == []


def test_a_query_of_100_000_characters(index: LexicalIndex):
    assert best(index, "颜料" * 50_000) == "格蕾修喜欢画画，总是带着颜料。"
    assert "生日" in best(index, "生日 " + " ".join(f"word{n}" for n in range(20_000)))


def test_upserting_replaces_and_deleting_forgets(index: LexicalIndex):
    chunk = make_chunks()[0]
    changed = replace(chunk, text="爱莉希雅有一头银色的短发。", position=9)
    index.upsert([changed])
    assert index.get([chunk.id]) == {chunk.id: changed}
    assert "粉色" not in best(index, "粉色")
    assert best(index, "银色") == changed.text
    index.delete([chunk.id, "unknown"])
    assert index.search("银色", 3) == []
    assert index.count() == len(make_chunks()) - 1
    index.clear()
    assert (index.count(), index.ids(), index.search("生日", 3)) == (0, set(), [])


def test_many_ids_at_once(index: LexicalIndex):
    many = [Chunk(id=f"n{n}", text=f"第{n}条", document="many.md", position=n) for n in range(1300)]
    index.upsert(many)
    assert len(index.get([chunk.id for chunk in many])) == 1300
    index.delete([chunk.id for chunk in many])
    assert index.count() == len(make_chunks())


def test_a_failed_write_leaves_nothing_behind(index: LexicalIndex):
    broken = Chunk(id="x", text="坏", document="a.md", position=None)  # type: ignore[arg-type]
    with pytest.raises(sqlite3.IntegrityError):
        index.upsert([Chunk(id="y", text="好", document="a.md"), broken])
    assert not index.get(["x", "y"])


def test_passages_by_position(index: LexicalIndex):
    assert [chunk.position for chunk in index.at("elysia.md", (0, 2, 7))] == [0, 2]


def test_threads_read_while_one_writes(index: LexicalIndex):
    stop, failures, reads = threading.Event(), [], []

    def read() -> None:
        try:
            while not stop.is_set():
                found = index.search("水晶花", 3)
                assert found[0][0].text == "她最喜欢的花是水晶花。"
                reads.append(1)
        except (AssertionError, sqlite3.Error, RuntimeError) as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for n in range(40):
        index.upsert([Chunk(id=f"n{n % 7}", text=f"第{n}条 记录", document="log.md", position=n)])
        index.delete([f"n{(n + 3) % 7}"])
    stop.set()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(reads) > 4


def test_what_is_written_is_there_after_opening_again(tmp_path: Path):
    path = tmp_path / "words.sqlite3"
    first = LexicalIndex(path)
    first.upsert(make_chunks())
    first.close()
    second = LexicalIndex(path)
    assert second.count() == len(make_chunks())
    second.close()


@pytest.mark.parametrize("damage", [b"not a database" * 500, b""])
def test_a_broken_file_is_replaced_by_an_empty_index(tmp_path: Path, damage: bytes):
    path = tmp_path / "words.sqlite3"
    path.write_bytes(damage)
    index = LexicalIndex(path)
    assert index.count() == 0
    index.upsert(make_chunks())
    assert index.count() == len(make_chunks())
    index.close()


def test_a_file_of_another_layout_is_made_anew(tmp_path: Path):
    path = tmp_path / "words.sqlite3"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE chunks (something)")
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    index = LexicalIndex(path)
    assert index.count() == 0
    index.close()
