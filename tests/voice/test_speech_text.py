import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elysia_chat.voice.speech_text import Piece, speakable
from elysia_chat.voice.speech_text_filter import ReplyFilter
from elysia_chat.voice.speech_text_marks import plain
from elysia_chat.voice.speech_text_scripts import split_scripts


def said(sentence: str, default: str = "zh") -> list[tuple[str, str]]:
    return [(piece.language, piece.text) for piece in speakable(sentence, default)]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("今天是2024年3月8日，星期五。", "今天是二零二四年三月八日，星期五。"),
        ("现在是3:30。", "现在是三点三十分。"),
        ("气温-5℃，湿度65%。", "气温负五摄氏度，湿度百分之六十五。"),
        ("他花了￥3,500.50买了2kg苹果。", "他花了三千五百点五零元买了两千克苹果。"),
        ("一共12,345颗星。", "一共一万二千三百四十五颗星。"),
        ("电话是13800138000。", "电话是幺三八零零幺三八零零零。"),
        ("3～5个，3-5个，20%~30%", "三到五个，三到五个，百分之二十到百分之三十"),
        ("18:00-20:00营业", "十八点到二十点营业"),
        ("从2023-2024年", "从二零二三到二零二四年"),
        ("价格是$20，￥100。", "价格是二十美元，一百元。"),
        ("8GB内存，3.5GB/s，50km/h", "八吉字节内存，三点五吉字节每秒，每小时五十公里"),
        ("版本v1.2.3", "版本微一点二点三"),
        ("A4纸和5G网络，OK吗？", "诶四纸和五鸡网络，欧开吗？"),
        ("你好 & 再见", "你好和再见"),
        ("3*4=12", "三乘四等于十二"),
        ("面积100m²", "面积一百平方米"),
        ("第①章", "第一章"),
        ("约5,000km²", "约五千平方千米"),
    ],
)
def test_chinese_numbers_and_symbols(written: str, spoken: str):
    assert said(written) == [("zh", spoken)]


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("Today is March 8, 2024.", "Today is the eighth of march, twenty twenty four."),
        ("It's 3:30 pm.", "It's three thirty PM."),
        ("It was -5°C and 65% humidity.", "It was negative five degrees Celsius and sixty five percent humidity."),
        ("She paid $3,500.50.", "She paid three thousand five hundred dollars and fifty cents."),
        ("It cost $1 or $1500.", "It cost one dollar or fifteen hundred dollars."),
        ("in the 1990s and 2010s", "in the nineteen nineties and twenty tens"),
        ("Call 555-1234.", "Call five five five, one two three four."),
        ("10 m/s, 1 m, 3 m", "ten meters per second, one meter, three meters"),
        ("Dr. Brown lives at No. 7, e.g. there.", "doctor Brown lives at number seven, for example, there."),
        ("from 1999-2003", "from nineteen ninety nine to two thousand three"),
        ("Chapter IV of version 1.2.3", "Chapter four of version one point two point three"),
        ("Open 24/7, and/or 100k stars", "Open twenty four seven, and or one hundred thousand stars"),
        ("I... I don't know", "I... I don't know"),
        ("~5 of 3*4", "about five of three times four"),
    ],
)
def test_english_numbers_and_symbols(written: str, spoken: str):
    assert said(written) == [("en", spoken)]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("你好呀♪～我是爱莉希雅～", "你好呀，我是爱莉希雅"),
        ("（笑）你好呀（轻轻眨眼）。", "你好呀。"),
        ("樱（铃的姐姐）是武士 [1]。", "樱，铃的姐姐，是武士。"),
        ("*微笑*你好。*她眨了眨眼*", "你好。"),
        ("*smiles* Hello there! *waves at you* How are you?", "Hello there! How are you?"),
        ("I *really* mean it. *Really*, I **do**.", "I really mean it. Really, I do."),
        ("He is (as I said) late (laughs).", "He is, as I said, late."),
        ("**重点**：请看[这里](https://a.example/b)！", "重点：请看这里！"),
        ("看 https://a.example.org/x?y=1，好吗", "看，好吗"),
        ("write to a@b.example or www.x.example/y now", "write to or now"),
        ("![图](a.png)运行 `make chat` 吧", "运行 吧"),
        ("(≧▽≦)太好了！(｡♥‿♥｡) ^_^ QAQ", "太好了！"),
        ("😀 Hello 👋🏽 world ❤️!", "Hello world!"),
        ("## 标题\n- 第一项\n- 第二项", "标题。第一项。第二项"),
        ("| a | b |\n|---|---|", "a b."),
        ("“走吧。”她说——然后……", "走吧。她说，然后…"),
        ("Tom &amp; Ann<br>left", "Tom & Ann left"),
        ("樱是武士。[1][2] 【3】", "樱是武士。"),
        ("……", ""),
        ("♪", ""),
        ("---", ""),
        ("😀", ""),
    ],
)
def test_what_is_for_the_eye_is_not_said(written: str, kept: str):
    assert plain(written) == kept


@pytest.mark.parametrize(
    ("sentence", "pieces"),
    [
        ("我叫Elysia，你好。", [("zh", "我叫"), ("en", "Elysia,"), ("zh", "你好。")]),
        ("有15个iPhone 15 Pro很好", [("zh", "有十五个"), ("en", "iPhone fifteen Pro"), ("zh", "很好")]),
        ("他说Hello，2024年见", [("zh", "他说"), ("en", "Hello,"), ("zh", "二零二四年见")]),
        ("使用Windows 11系统", [("zh", "使用"), ("en", "Windows eleven"), ("zh", "系统")]),
        ("她在Paris有3个朋友", [("zh", "她在"), ("en", "Paris"), ("zh", "有三个朋友")]),
        ("崩坏3rd。", [("zh", "崩坏"), ("en", "third.")]),
        ("“Hi!”她说。", [("en", "Hi!"), ("zh", "她说。")]),
        ("她喜欢の字", [("zh", "她喜欢的字")]),
        ("こんにちは、東京です。", [("ja", "こんにちは、東京です。")]),
        ("Привет，你好", [("other", "Привет，"), ("zh", "你好")]),
    ],
)
def test_mixed_sentences_are_split_by_script(sentence: str, pieces: list[tuple[str, str]]):
    assert said(sentence) == pieces


def test_numbers_alone_are_in_the_default_language():
    assert said("2024", "en") == [("en", "twenty twenty four")]
    assert said("42", "zh") == [("zh", "四十二")]


def test_code_and_directions_over_several_sentences():
    reply = ReplyFilter()
    fed = ["看这段代码：\n```python\n", "print('你好。')\n", "x = 1\n```\n好了吗？", "*She smiles.",
           " Her eyes shine.* Hello.", "（她轻轻笑了。", "然后挥手）走吧。"]  # fmt: skip
    assert [reply.feed(sentence).strip() for sentence in fed] == [
        "看这段代码：", "", "好了吗？", "", "Hello.", "", "走吧。"
    ]  # fmt: skip


def test_an_asterisk_that_is_never_closed_mutes_nothing_for_long():
    reply = ReplyFilter()
    assert reply.feed("It is 5 * 3 here.") == "It is 5 * 3 here."
    fed = ["*note: this", " is one.", " And two.", " Three.", " Four."]
    assert "".join(reply.feed(sentence) for sentence in fed).endswith(" Three. Four.")


_TEXT = st.text(alphabet=string.printable + "你好の。，！？…～♪（）“”《》①½²π℃￥一二三éЖ한😀*[]`#-", max_size=80)


@settings(max_examples=200, deadline=None)
@given(_TEXT)
def test_any_text_becomes_words(text: str):
    assert "".join(piece.text for piece in split_scripts(text, "zh")) == text
    for piece in speakable(text):
        assert isinstance(piece, Piece)
        if piece.language in ("zh", "en"):
            assert not any(character.isdecimal() or character in "*_`[]{}<>#|\\/@^~♪" for character in piece.text)


@pytest.mark.parametrize(
    ("written", "spoken"),
    [
        ("樱最珍惜的是妹妹铃（Rin）。", [("zh", "樱最珍惜的是妹妹铃。")]),
        ("Elysia (爱莉希雅) waved at Pardofelis (帕朵菲莉丝).", [("en", "Elysia waved at Pardofelis.")]),
        ("铃（樱的妹妹）来了。", [("zh", "铃，樱的妹妹，来了。")]),
        ("Sakura (the swordswoman) left.", [("en", "Sakura, the swordswoman, left.")]),
        ("（Rin）来了。", [("en", "Rin,"), ("zh", "来了。")]),
    ],
)
def test_a_name_that_is_given_in_both_scripts_is_said_once(written: str, spoken: list[tuple[str, str]]):
    assert said(written) == spoken
