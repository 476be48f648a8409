import sqlite3

import pytest

from elysia_chat.ingest.errors import ManifestError
from elysia_chat.ingest.manifest import Manifest, Record, chunk_state, document_states
from elysia_chat.kb.chunk import Chunk


def record(path="a.md", reason=""):
    return Record(path, "Title", "digest", "stat", 10, reason, 1.0)


def chunk(identifier, position=0, title=""):
    return Chunk(identifier, "text", "a.md", title=title, position=position)


@pytest.fixture
def manifest(tmp_path):
    opened = Manifest.open(tmp_path / "manifest.sqlite3")
    yield opened
    opened.close()


def test_saving_replaces_a_document_and_settles_what_was_touched(manifest):
    manifest.touch([("1", "a.md"), ("2", "a.md"), ("3", "b.md"), ("4", "")])
    manifest.save([(record(), [chunk("1"), chunk("2", 1)])])
    manifest.save([(record(), [chunk("2", 0)])])
    assert manifest.records() == {"a.md": record()}
    assert manifest.chunks() == {"a.md": {"2": chunk_state(chunk("2", 0))}}
    assert manifest.touched() == {"3", "4"}
    manifest.settle(["b.md"])
    assert manifest.touched() == {"3"}


def test_the_state_of_a_chunk_tells_title_and_place():
    assert len({chunk_state(chunk("1")), chunk_state(chunk("1", 1)), chunk_state(chunk("1", title="T"))}) == 3


def test_forgetting(manifest):
    manifest.save([(record(), [chunk("1")]), (record("b.md"), [])])
    manifest.forget(["a.md"])
    assert manifest.records().keys() == {"b.md"}
    assert manifest.chunk_count() == 0


def test_settings_are_remembered(manifest):
    assert manifest.setting("options") is None
    manifest.set_setting("options", "x")
    manifest.set_setting("options", "y")
    assert manifest.setting("options") == "y"


def test_states_can_be_read_while_it_is_open_for_writing(manifest, tmp_path):
    manifest.save([(record(), [chunk("1"), chunk("2")]), (record("b.md", "broken"), [])])
    first, second = document_states(tmp_path / "manifest.sqlite3")
    assert (first.path, first.title, first.chunks, first.state, first.reason) == ("a.md", "Title", 2, "indexed", "")
    assert (second.path, second.state, second.reason, second.bytes) == ("b.md", "failed", "broken", 10)


def test_no_manifest_has_no_states(tmp_path):
    assert document_states(tmp_path / "none.sqlite3") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", [b"this is not a database, and long enough to look at" * 50, None])
def test_a_damaged_or_foreign_one_is_put_aside(tmp_path, content):
    path = tmp_path / "manifest.sqlite3"
    if content is None:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        path.write_bytes(content)
        with pytest.raises(ManifestError, match="Run the ingest again"):
            document_states(path)
    opened = Manifest.open(path)
    assert opened.records() == {}
    opened.close()
    assert (tmp_path / "manifest.sqlite3.damaged").exists()


def test_one_that_cannot_be_opened_is_kept(tmp_path):
    with pytest.raises(ManifestError, match="cannot be opened"):
        Manifest.open(tmp_path / "no" / "such" / "folder.sqlite3")
