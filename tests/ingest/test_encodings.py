import pytest

from elysia_chat.ingest.encodings import decode, plausibility
from elysia_chat.ingest.errors import BrokenFileError

SHORT_SIMPLIFIED = [
    "你好",
    "爱莉希雅",
    "她喜欢花。",
    "往世乐土",
    "人之律者",
    "生日是11月11日。",
    "水晶花、飞花、箭矢",
    "Hello 世界",
]
SHORT_TRADITIONAL = ["愛莉希雅", "她喜歡花。", "往世樂土的主人是誰？", "今天天氣真好", "臺灣", "Hello 世界"]
LONG_SIMPLIFIED = "爱莉希雅是逐火十三英桀之一，也是往世乐土的主人。她喜欢花，也喜欢和大家聊天。\n" * 80
LONG_TRADITIONAL = "愛莉希雅是逐火十三英桀之一，也是往世樂土的主人。她喜歡花，也喜歡和大家聊天。\n" * 80
UNICODE = ["utf-8", "utf-8-sig", "utf-16", "utf-32"]


@pytest.mark.parametrize("encoding", [*UNICODE, "gbk", "gb18030"])
@pytest.mark.parametrize("text", [*SHORT_SIMPLIFIED, LONG_SIMPLIFIED])
def test_reads_simplified_chinese(text, encoding):
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", [*UNICODE, "big5"])
@pytest.mark.parametrize("text", [*SHORT_TRADITIONAL, LONG_TRADITIONAL])
def test_reads_traditional_chinese(text, encoding):
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text", ["爱莉希雅喜欢花。\n她的生日是11月11日。", "plain English\n", LONG_SIMPLIFIED, LONG_TRADITIONAL]
)
def test_reads_utf_16_without_a_mark(text, encoding):
    assert decode(text.encode(encoding)) == text


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_reads_utf_16_with_either_mark(mark):
    encoding = "utf-16-le" if mark == b"\xff\xfe" else "utf-16-be"
    assert decode(mark + "爱莉希雅".encode(encoding)) == "爱莉希雅"


def test_reads_western_text_with_the_help_of_statistics():
    text = "Ein schönes Mädchen grüßt über die Straße. " * 10
    assert decode(text.encode("cp1252")) == text


def test_reads_japanese_in_its_own_encoding():
    text = "エリシアは花が好きです。誕生日は十一月です。" * 5
    assert decode(text.encode("shift_jis")) == text


def test_believes_a_declaration_that_fits():
    assert decode("花".encode("gbk"), "gb2312") == "花"


def test_disbelieves_a_declaration_that_does_not_fit():
    assert decode("爱莉希雅".encode("utf-16-le"), "ascii") == "爱莉希雅"
    assert decode("爱莉希雅".encode(), "no-such-encoding") == "爱莉希雅"


def test_a_mark_with_nothing_behind_it_is_an_empty_text():
    assert decode(b"\xef\xbb\xbf") == ""


@pytest.mark.parametrize(
    "data", [bytes(range(256)) * 4, b"\x00\x01\x02\x03" * 100, b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" * 5]
)
def test_refuses_what_is_not_text(data):
    with pytest.raises(BrokenFileError, match="UTF-8"):
        decode(data)


def test_a_wrong_encoding_looks_less_ordinary():
    data = "爱莉希雅是往世乐土的主人".encode("gbk")
    assert plausibility(data.decode("gbk")) > plausibility(data.decode("big5hkscs", "replace"))
