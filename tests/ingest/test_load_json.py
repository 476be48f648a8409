import pytest

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import BrokenFileError
from elysia_chat.ingest.load_json import load_json, load_jsonl


def test_an_object_becomes_lines_and_headings():
    source = """{"名字": "爱莉希雅", "likes": ["花", "茶"], "none": null, "real": true,
        "battle": {"hp": 100, "arms": {"bow": 1}}, "friends": [{"name": "Kevin"}, {"name": "Mobius"}]}"""
    document = load_json(source.encode(), "name", Limits())
    assert [(s.heading_path, s.text) for s in document.sections] == [
        ((), "名字: 爱莉希雅\nlikes: 花, 茶\nreal: true"),
        (("battle",), "hp: 100\narms / bow: 1"),
        (("friends",), "name: Kevin\n\nname: Mobius"),
    ]


def test_a_list_of_records_becomes_paragraphs():
    assert load_json(b'[{"a": 1, "b": [[1, 2], [3]]}, "x"]', "n", Limits()).text == "a: 1\nb 1: 1, 2\nb 2: 3\n\nx"


def test_a_lone_surrogate_does_no_harm():
    text = load_json(b'{"a": "x\\ud800y"}', "n", Limits()).text
    assert text.encode()
    assert text == "a: x\ufffdy"


@pytest.mark.parametrize("data", [b"{", b"[" * 100_000, b'{"a": 1} trailing'])
def test_what_is_not_json_is_refused(data):
    with pytest.raises(BrokenFileError, match="JSON"):
        load_json(data, "n", Limits())


def test_json_lines_are_paragraphs():
    assert load_jsonl('{"a": "花"}\r\n\n{"a": "茶"}\n'.encode(), "n", Limits()).text == "a: 花\n\na: 茶"


def test_a_bad_line_is_named():
    with pytest.raises(BrokenFileError, match="line 2 is not JSON"):
        load_jsonl(b'{"a": 1}\n{"a": \n', "n", Limits())


def test_deep_json_lines_are_refused():
    with pytest.raises(BrokenFileError):
        load_jsonl(b"[" * 100_000 + b"\n", "n", Limits())
