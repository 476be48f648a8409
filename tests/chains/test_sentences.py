import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elysia_chat.chains.sentences import SentenceSplitter


def split(text: str, size: int = 1) -> list[str]:
    return split_at(text, list(range(size, len(text), size)))


def split_at(text: str, borders: list[int]) -> list[str]:
    """The sentences of a text that comes in pieces with the given borders."""
    splitter = SentenceSplitter()
    edges = [0, *sorted(borders), len(text)]
    pieces = [text[start:end] for start, end in pairwise(edges)]
    return [s for piece in pieces for s in splitter.feed(piece)] + list(splitter.close())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("你好。再见吧朋友！", ["你好。", "再见吧朋友！"]),
        ("她说：“走吧。”然后她走了。", ["她说：“走吧。”", "然后她走了。"]),
        ("樱是武士 [1]。妹妹是铃 [2]。", ["樱是武士 [1]。", "妹妹是铃 [2]。"]),
        ("她在这里。[1] 走吧。", ["她在这里。[1]", " 走吧。"]),
        ("她们在这里。[1, 3] 我们也走吧。", ["她们在这里。[1, 3]", " 我们也走吧。"]),
        ("真的吗？！好……", ["真的吗？！", "好……"]),
        ("真的?我不信!好吧，走。", ["真的?", "我不信!好吧，走。"]),
        ("第一行很长\n第二行很长", ["第一行很长\n", "第二行很长"]),
        ("one two\nthree", ["one two\n", "three"]),
        ("春天来了；花都开了；我们走吧。", ["春天来了；", "花都开了；", "我们走吧。"]),
        ("你好呀♪～我是爱莉希雅～", ["你好呀♪～", "我是爱莉希雅～"]),
        ("", []),
        ("  ", []),
        ("……", ["……"]),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_cuts(text: str, sentences: list[str], size: int):
    assert split(text, size) == sentences


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("Dr. Mei paid 3.5 coins. Then J. Smith left.", ["Dr. Mei paid 3.5 coins.", " Then J. Smith left."]),
        ("Visit a.example.org now! Yes, do.", ["Visit a.example.org now!", " Yes, do."]),
        ('He said "Go." Then left.', ['He said "Go."', " Then left."]),
        ('"Go now!" he said. "Why so soon?" Nobody knew.', ['"Go now!" he said.', ' "Why so soon?"', " Nobody knew."]),
        ("Well... maybe it is. Wait...what is it?", ["Well... maybe it is.", " Wait...what is it?"]),
        ("We met at 5 p.m. She was late.", ["We met at 5 p.m.", " She was late."]),
        ("At 5 p.m. Elysia came. We sang.", ["At 5 p.m. Elysia came.", " We sang."]),
        ("She was born on Nov. 11th. It was in Nov. She left.",
         ["She was born on Nov. 11th.", " It was in Nov.", " She left."]),
        ("Apples, pears, etc. are ripe. No. 5 is not. No. It is.",
         ["Apples, pears, etc. are ripe.", " No. 5 is not.", " No. It is."]),
        ("The U.S. Army came. The U.S. The end.", ["The U.S. Army came.", " The U.S.", " The end."]),
        ("Stars fell; we watched. It was 10:30; late.", ["Stars fell;", " we watched.", " It was 10:30;", " late."]),
        ("1. First we sing. 2. Then we dance.", ["1. First we sing.", " 2. Then we dance."]),
        ("Tom &amp; Ann came. They left.", ["Tom &amp; Ann came.", " They left."]),
        ("Is (it so?) Yes it is.", ["Is (it so?)", " Yes it is."]),
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 4, 100])
def test_english_cuts(text: str, sentences: list[str], size: int):
    assert split(text, size) == sentences


@pytest.mark.parametrize(
    "text",
    [
        "圆周率约是3.14159，不多不少",
        "她在10:30到了",
        "一共1,000,000颗星",
        "大约3～5个人",
        "看https://a.example.org/b?c=1!2;d,e.f吧",
        "我……喜欢……你",
        "版本v2.5.1好",
        "at 10:30 we paid 1,000.50 for version 2.5.1 of e.g. this",
        "see https://a.example.org/x?y=1,2;3!4 for it",
    ],
)
def test_numbers_addresses_and_ellipses_stay_whole(text: str):
    before = "我先说一句话。"
    after = "然后我再说一句话。" if re.search("[一-鿿]", text) else ". Then some more words."
    assert split(f"{before}{text}{after}")[1:] in ([text + after], [text + after[0], after[1:]])


def test_long_sentences_at_the_beginning_are_cut_at_commas():
    text = (
        "今天的天气真是好得不得了，我们一起去花园里看那些开了的花，然后去海边，好吗？下一句有逗号，但是不在逗号处分开。"
    )
    assert split(text) == [
        "今天的天气真是好得不得了，",
        "我们一起去花园里看那些开了的花，",
        "然后去海边，好吗？",
        "下一句有逗号，但是不在逗号处分开。",
    ]
    english = "When the first stars came out tonight, we walked along the river, slowly. Then, at last, we slept."
    assert split(english) == [
        "When the first stars came out tonight,",
        " we walked along the river, slowly.",
        " Then, at last, we slept.",
    ]
    assert split("They had found some 12,500,000 golden coins and left.") == [
        "They had found some 12,500,000 golden coins and left."
    ]


def test_very_short_sentences_are_joined_to_the_next():
    assert split("我们走到了海边。嗯。好。我们走吧。") == ["我们走到了海边。", "嗯。好。我们走吧。"]
    assert split("嗯！我在这里。") == ["嗯！我在这里。"]
    assert split("We walked a while. Oh! It was late.") == ["We walked a while.", " Oh! It was late."]


def test_a_sentence_is_given_before_the_next_has_ended():
    splitter = SentenceSplitter()
    assert list(splitter.feed("你好，舰长。")) == []
    assert list(splitter.feed("今")) == ["你好，舰长。"]


def test_straight_quotes_open_and_close():
    assert split('他说完了。"我们走吧。"她说道。') == ["他说完了。", '"我们走吧。"', "她说道。"]


@pytest.mark.parametrize(
    "unit", ["我们一直走啊走", "no stop in here ", "好，", "a", "1", "——", "https://a.example/b?c=", " "]
)
def test_ten_thousand_characters_without_a_full_stop(unit: str):
    text = (unit * 10_000)[:10_000]
    sentences = split(text, 7)
    assert "".join(sentences).strip() == text.strip()
    assert all(len(sentence) <= 400 for sentence in sentences)
    if unit.isspace():
        assert sentences == []


def test_long_texts_are_cut_behind_commas_and_never_in_words():
    text = "我们走过了山，走过了水" * 30
    assert {sentence[-1] for sentence in split(text)[:-1]} == {"，"}
    words = "unquestionably remarkable " * 100
    assert {sentence.split()[-1] for sentence in split(words)} <= {"remarkable", "unquestionably"}
    numbers = "我们一共数到了" * 8 + "123456789012" + "颗星星" * 30
    assert any("123456789012" in sentence for sentence in split(numbers))


_TEXT = st.text(alphabet="abT好星。，,.!?;；”\"“[12] \n…~～:'", max_size=120) | st.lists(
    st.sampled_from(
        ["她说：“走吧。”", "3.14", "Mr. ", "p.m. ", "She ", "e.g. ", "……", "...", " [1]", "[2, 3]", "https://a.b/c?d ",
         "今天的天气真的很好，", "we walk along the river ", "\n\n", "1,000", "10:30", "。", "! ", '"',
         "嗯", "No. ", "5"]
    ),
    max_size=40,
).map("".join)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(_TEXT, st.data())
def test_nothing_is_lost_and_token_borders_do_not_matter(text: str, data: st.DataObject):
    whole = split_at(text, [])
    assert "".join("".join(whole).split()) == "".join(text.split())
    assert text.startswith("".join(whole))
    assert split(text) == whole
    borders = data.draw(st.lists(st.integers(0, len(text)), max_size=8))
    assert split_at(text, borders) == whole
