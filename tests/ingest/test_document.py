import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.ingest.document import DocumentBuilder, Limits, clean, clean_line
from elysia_chat.ingest.errors import TooLargeError


def build(*blocks: tuple[int, str], **options):
    """Level 0 is a paragraph."""
    builder = DocumentBuilder(Limits())
    for level, text in blocks:
        builder.heading(level, text) if level else builder.paragraph(text)
    return builder.build("name", **options)


def test_sections_are_slices_of_the_text():
    document = build((1, "A"), (0, "one"), (2, "B"), (0, "two"), (0, "three"), (1, "C"), (0, "four"))
    assert document.text == "A\n\none\n\nB\n\ntwo\n\nthree\n\nC\n\nfour"
    for section in document.sections:
        assert document.text[section.start : section.end] == section.text
    assert [document.text[s.head : s.start].strip() for s in document.sections] == ["A", "B", "C"]


def test_headings_without_a_text_between_them_open_one_section():
    (section,) = build((1, "A"), (2, "B"), (0, "text"), title_heading=False).sections
    assert (section.heading_path, section.opened, section.head) == (("A", "B"), 2, 0)


def test_a_heading_with_nothing_under_it_is_an_empty_section():
    document = build((1, "A"), (1, "B"), (0, "text"))
    assert [(s.heading_path, s.text) for s in document.sections] == [(("A",), ""), (("B",), "text")]


def test_a_skipped_level_closes_what_is_deeper():
    document = build((1, "A"), (3, "B"), (0, "x"), (2, "C"), (0, "y"))
    assert [s.heading_path for s in document.sections] == [("B",), ("C",)]


def test_the_title_line_belongs_to_no_section():
    document = build((1, "Title"), (2, "A"), (0, "x"), (2, "B"), (0, "y"))
    assert document.title == "Title"
    assert [document.text[s.head : s.start].strip() for s in document.sections] == ["A", "B"]


def test_a_heading_too_long_to_be_one_is_a_paragraph():
    (section,) = build((1, "x" * 300)).sections
    assert (section.heading_path, len(section.text)) == ((), 300)


def test_more_text_than_the_limit_is_refused():
    builder = DocumentBuilder(Limits(unpacked_bytes=1000))
    builder.paragraph("x" * 900)
    with pytest.raises(TooLargeError, match="characters"):
        builder.paragraph("x" * 100)


@given(st.text(alphabet=st.sampled_from("a花 \t\r\n\x0b\x0c\u2028\u200b\xa0\ufeff\u3000\x00é\u0301\ud800")))
def test_cleaning_twice_is_cleaning_once(text):
    once = clean(text)
    assert clean(once) == once
    once.encode()
    assert "\n\n\n" not in once


def test_a_line_has_single_spaces():
    assert clean_line(" a \n\t b\u3000c ") == "a b c"


blocks = st.lists(st.tuples(st.integers(0, 4), st.text(alphabet="ab 花\n。", max_size=30)), max_size=12)


@given(blocks, st.booleans())
def test_nothing_is_lost_and_offsets_hold(parts, title_heading):
    document = build(*parts, title_heading=title_heading)
    position = 0
    for section in document.sections:
        assert position <= section.head <= section.start <= section.end
        assert document.text[section.start : section.end] == section.text
        position = section.end
    wanted = "".join("".join(clean(text).split()) for _, text in parts)
    assert "".join(document.text.split()) == wanted
