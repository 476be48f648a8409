"""A damaged index is told in one line, and ingest can build it again."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from elysia_chat.configs.paths import index_dir
from elysia_chat.configs.settings import StoreSettings
from elysia_chat.kb.chroma_errors import ChromaErrors
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexDamagedError, StoreServerError
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base


def opened(*, repair: bool = False) -> KnowledgeBase:
    return open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings(), repair=repair)


@pytest.fixture
def folder() -> Path:
    """A closed index with more vectors than Chroma keeps in its log, so that its HNSW files are there."""
    kb = opened()
    kb.write([Chunk(id=f"n{n}", text=f"记录 {n}", document="log.md", position=n) for n in range(1200)])
    kb.close()
    return index_dir("eden") / "chroma"


def hnsw(folder: Path) -> Path:
    return next(path.parent for path in folder.rglob("header.bin"))


def overwrite_middle(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(40_960)
        file.write(np.random.default_rng(0).bytes(400_000))


def execute(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()


DAMAGE: dict[str, Callable[[Path], object]] = {
    "not a database": lambda f: (f / "chroma.sqlite3").write_bytes(b"garbage" * 1000),
    "cut off": lambda f: os.truncate(f / "chroma.sqlite3", (f / "chroma.sqlite3").stat().st_size // 2),
    "overwritten": lambda f: overwrite_middle(f / "chroma.sqlite3"),
    "another version's migrations": lambda f: execute(f / "chroma.sqlite3", "UPDATE migrations SET hash = '0'"),
    "another version's configuration": lambda f: execute(
        f / "chroma.sqlite3", "UPDATE collections SET config_json_str = '{bad'"
    ),
    "a lost table": lambda f: execute(f / "chroma.sqlite3", "DROP TABLE collections"),
    "vectors lost": lambda f: shutil.rmtree(hnsw(f)),
    "vectors' names lost": lambda f: (hnsw(f) / "index_metadata.pickle").unlink(),
    "vectors broken": lambda f: (hnsw(f) / "header.bin").write_bytes(b"x" * 100),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_damage_is_told_when_the_index_is_opened_and_can_be_repaired(folder: Path, damage: Callable[[Path], object]):
    """Lost vectors are the case that Chroma itself does not notice: it opens, counts 1,200 and finds nothing."""
    damage(folder)
    with pytest.raises(IndexDamagedError, match="elysia-chat ingest --persona eden") as caught:
        opened().close()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    repaired = opened(repair=True)
    assert repaired.count() == 0
    repaired.write([Chunk(id="new", text="新的记录", document="log.md")])
    assert repaired.nearest("新的记录", 1)[0][0].page_content == "新的记录"
    repaired.close()


def test_a_sound_index_is_not_touched_by_repair(folder: Path):
    kb = opened(repair=True)
    assert kb.count() == 1200
    assert len(kb.nearest("记录 7", 5)) == 5
    kb.close()


def test_a_broken_word_index_is_made_again_from_the_vectors(folder: Path):
    words = next(index_dir("eden").glob("words-*.sqlite3"))
    words.write_bytes(b"garbage" * 1000)
    kb = opened()
    assert kb.matching("记录 1199", 1)[0][0].page_content == "记录 1199"
    kb.close()


def test_a_word_index_that_breaks_while_it_is_open_is_told(folder: Path):
    kb = opened()
    execute(next(index_dir("eden").glob("words-*.sqlite3")), "DROP TABLE words")
    with pytest.raises(IndexDamagedError, match="ingest"):
        kb.matching("记录", 1)
    kb.close()


class PanicException(BaseException):
    """Stands for the class of Rust panics, which cannot be imported."""


def test_a_rust_panic_is_told_and_other_base_exceptions_pass(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(PanicException, "__module__", "pyo3_runtime")
    panic = ("range start must not be greater than end\nmore",)
    with pytest.raises(IndexDamagedError, match="range start"), ChromaErrors("eden"):
        raise PanicException(*panic)
    with pytest.raises(StoreServerError), ChromaErrors("eden", "host:1"):
        raise PanicException(*panic)
    for other in (KeyboardInterrupt, SystemExit, GeneratorExit, TypeError):
        with pytest.raises(other), ChromaErrors("eden"):
            raise other
