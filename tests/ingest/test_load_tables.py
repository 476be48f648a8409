import pytest

from elysia_chat.ingest.document import DocumentBuilder, Limits
from elysia_chat.ingest.errors import BrokenFileError
from elysia_chat.ingest.load_tables import load_csv, write_rows


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_rows_become_named_values(separator):
    source = "\n".join(separator.join(row) for row in (["名字", "武器"], ["爱莉希雅", "弓"], ["凯文", ""]))
    assert load_csv(source.encode("gb18030"), "x", Limits()).text == "名字: 爱莉希雅\n武器: 弓\n\n名字: 凯文"


def test_quoted_cells_may_hold_anything():
    assert load_csv(b'a,b\n"one, two","line 1\nline 2"\n', "x", Limits()).text == "a: one, two\nb: line 1 line 2"


def test_cells_beyond_the_head_are_numbered():
    assert load_csv(b"a,\n1,2,3\n", "x", Limits()).text == "a: 1\ncolumn 2: 2\ncolumn 3: 3"


def test_a_head_alone_is_kept_as_it_is():
    assert load_csv(b"a,b\n", "x", Limits()).text == "a | b"


def test_a_cell_without_end_is_refused():
    with pytest.raises(BrokenFileError, match="CSV"):
        load_csv(b'a,b\n"' + b"x" * 200_000, "x", Limits())


def test_no_rows_at_all():
    builder = DocumentBuilder(Limits())
    write_rows([["", " "], []], builder)
    assert builder.is_empty
