import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.ingest.document import DocumentBuilder, Limits
from elysia_chat.ingest.splitter import language_of, split

ZH = "爱莉希雅是往世乐土的主人。她喜欢花，也喜欢茶！你知道她的生日吗？那是十一月十一日。"
EN = "Elysia is the host of the realm. She likes flowers, and tea! Do you know her birthday? It is in November. "


def document_of(*blocks: tuple[int, str], title_heading: bool = True):
    builder = DocumentBuilder(Limits())
    for level, text in blocks:
        builder.heading(level, text) if level else builder.paragraph(text)
    return builder.build("name", title_heading=title_heading)


def texts(document, size=100, overlap=0):
    return [(chunk.heading, chunk.text) for chunk in split(document, "a.md", size, overlap)]


def test_chinese_is_cut_behind_sentences():
    for chunk in split(document_of((0, ZH * 10)), "a.md", 100, 0):
        assert re.search(r"[。！？]$", chunk.text), chunk.text


def test_english_is_cut_behind_sentences():
    for chunk in split(document_of((0, EN * 10)), "a.md", 100, 0):
        assert re.search(r"[.!?]$", chunk.text), chunk.text


def test_a_closing_quote_stays_with_its_sentence():
    text = "她说：“你好呀，今天也要开心哦。”" * 10
    for chunk in split(document_of((0, text)), "a.md", 60, 0):
        assert chunk.text.endswith("。”")


def test_a_number_is_not_a_sentence_end():
    text = "The value is 3.14159 and it stays whole in here. " * 10
    assert all("3.14159" in chunk.text for chunk in split(document_of((0, text)), "a.md", 50, 0))


def test_a_sentence_over_the_size_is_cut_at_clauses():
    text = "她喜欢花，" * 40
    for chunk in split(document_of((0, text)), "a.md", 52, 0):
        assert chunk.text.endswith("，")


def test_headings_are_kept_with_each_chunk():
    found = split(document_of((1, "喜好"), (0, ZH * 4), (2, "花"), (0, ZH * 4), title_heading=False), "a.md", 100, 0)
    assert {chunk.heading for chunk in found} == {"喜好", "喜好 > 花"}
    assert [chunk.position for chunk in found] == list(range(len(found)))
    assert {chunk.document for chunk in found} == {"a.md"}


def test_tiny_siblings_are_joined_and_keep_their_headings_in_the_text():
    document = document_of((1, "T"), (2, "生日"), (0, "11月11日"), (2, "武器"), (0, "弓"), (2, "长"), (0, ZH * 2))
    assert texts(document) == [("", "生日\n\n11月11日\n\n武器\n\n弓"), ("长", ZH * 2)]


def test_sections_of_a_good_size_stay_apart():
    document = document_of((1, "T"), (2, "A"), (0, ZH), (2, "B"), (0, ZH))
    assert texts(document) == [("A", ZH), ("B", ZH)]


def test_a_tiny_last_section_joins_the_one_before():
    document = document_of((1, "T"), (2, "A"), (0, ZH), (2, "B"), (0, "弓"))
    assert texts(document) == [("", f"A\n\n{ZH}\n\nB\n\n弓")]


def test_sections_of_other_chapters_are_not_joined():
    document = document_of((1, "A"), (2, "x"), (0, "花"), (1, "B"), (2, "y"), (0, "茶"))
    assert texts(document) == [("A > x", "花"), ("B > y", "茶")]


def test_a_joined_chunk_loses_no_heading():
    """Joining under the common heading () must not drop "A", whose line stands before its own text."""
    document = document_of((1, "A"), (0, ZH * 2), (2, "x"), (0, "花"), (1, "B"), (0, "茶"))
    found = texts(document)
    assert all("A" in heading + text for heading, text in found if "花" in text)


def test_a_bare_heading_joins_a_neighbour():
    document = document_of((1, "T"), (2, "空"), (2, "A"), (0, ZH), (2, "尾"))
    found = texts(document)
    assert [text for _, text in found if text in ("空", "尾")] == []
    assert "空" in "".join(text for _, text in found)
    assert "尾" in "".join(text for _, text in found)


@pytest.mark.parametrize("length", range(80, 101))
def test_a_bare_heading_between_full_neighbours_is_evened_out(length):
    body = ("花开了又谢。" * 20)[:length]
    document = document_of((1, "T"), (2, "A"), (0, body), (2, "空空"), (2, "B"), (0, body))
    found = texts(document)
    assert all(len(text) <= 100 for _, text in found)
    assert all(text != "空空" for _, text in found)
    assert sum(text.count("空空") for _, text in found) == 1


def test_no_scrap_is_left_of_a_cut_section():
    text = ZH * 2 + "她笑。"
    for size in range(60, 90):
        found = split(document_of((0, text)), "a.md", size, 0)
        assert min(len(chunk.text) for chunk in found) >= size // 4


def test_overlap_repeats_whole_clauses_of_the_one_before():
    found = split(document_of((0, ZH * 6)), "a.md", 100, 30)
    assert len(found) > 2
    for before, after in itertools.pairwise(found):
        shared = before.start + len(before.text) - after.start
        assert 0 < shared <= 30
        assert len(after.text) <= 100
        assert after.text.startswith(before.text[-shared:])


def test_overlap_does_not_cross_sections():
    document = document_of((1, "T"), (2, "A"), (0, ZH), (2, "B"), (0, ZH))
    assert texts(document, 100, 30) == [("A", ZH), ("B", ZH)]


def test_equal_passages_have_ids_of_their_own():
    found = split(document_of((1, "A"), (0, ZH), (1, "A"), (0, ZH), title_heading=False), "a.md", 60, 0)
    assert len({chunk.id for chunk in found}) == len(found) == 2


def test_a_passage_keeps_its_id_when_text_is_put_before_it():
    before = split(document_of((1, "T"), (2, "A"), (0, ZH)), "a.md", 100, 0)
    after = split(document_of((1, "T"), (2, "New"), (0, ZH + ZH), (2, "A"), (0, ZH)), "a.md", 100, 0)
    assert before[0].id == after[-1].id
    assert before[0].position != after[-1].position


def test_the_overlap_must_be_smaller_than_the_size():
    with pytest.raises(ValueError, match="chunk_overlap"):
        split(document_of((0, ZH)), "a.md", 100, 100)


@pytest.mark.parametrize(
    ("text", "language"), [(ZH, "zh"), (EN, "en"), ("1234", ""), ("Elysia 的花园里开满了花", "zh")]
)
def test_language(text, language):
    assert language_of(text) == language


words = st.text(alphabet="ab花。，.!?”\n 　xyz爱", max_size=200)
block = st.one_of(
    st.tuples(st.just(0), words),
    st.tuples(st.integers(1, 3), st.text(alphabet="标题AB", min_size=1, max_size=8)),
)
shape = st.tuples(st.integers(20, 120), st.integers(0, 15))


@given(st.lists(block, max_size=10), shape, st.booleans())
def test_chunks_are_slices_within_the_size_and_lose_nothing(blocks, sizes, title_heading):
    document = document_of(*blocks, title_heading=title_heading)
    size, overlap = sizes
    chunks = split(document, "a.md", size, overlap)
    covered = set()
    for number, chunk in enumerate(chunks):
        assert chunk.position == number
        assert 0 < len(chunk.text) <= size
        assert chunk.text == chunk.text.strip()
        assert document.text[chunk.start : chunk.start + len(chunk.text)] == chunk.text
        covered.update(range(chunk.start, chunk.start + len(chunk.text)))
    assert [chunk.start for chunk in chunks] == sorted(chunk.start for chunk in chunks)
    assert len({chunk.id for chunk in chunks}) == len(chunks)
    for section in document.sections:
        lost = [i for i in range(section.start, section.end) if i not in covered and not document.text[i].isspace()]
        assert not lost
    said = "\n".join(f"{chunk.title}\n{chunk.heading}\n{chunk.text}" for chunk in chunks)
    for section in document.sections:
        assert all(heading in said for heading in section.heading_path)


@given(st.lists(block, max_size=10), shape)
def test_without_overlap_chunks_do_not_repeat(blocks, sizes):
    chunks = split(document_of(*blocks), "a.md", sizes[0], 0)
    ends = [chunk.start + len(chunk.text) for chunk in chunks]
    assert all(end <= chunk.start for end, chunk in zip(ends, chunks[1:], strict=False))
