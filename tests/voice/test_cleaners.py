"""The cleaners write what voices of the original VITS learned.

The expected symbols were compared with what the cleaners of those tools write for the same text.
"""

import pytest

from elysia_chat.voice import cleaners_zh
from elysia_chat.voice.cleaners import cleaner_names, find_cleaner
from elysia_chat.voice.errors import UnspeakableError
from tests.voice.needs import needs_espeak, needs_japanese
from tests.voice.tiny_vits import ORIGINAL_SYMBOLS

GREETING = "你好，爱莉希雅。"
BOPOMOFO = [*"_，。！？—…ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦㄧㄨㄩˉˊˇˋ˙ "]


def read(name: str, text: str, language: str, symbols: list[str] = ORIGINAL_SYMBOLS) -> str:
    cleaner = find_cleaner(name, symbols)
    assert cleaner is not None
    return cleaner.read(text, language)


@pytest.mark.parametrize(
    ("name", "text", "symbols"),
    [
        ("cjke_cleaners2", GREETING, "ni↓↑xɑʊ↓↑, aɪ↓li↓ ʃi→ja↓↑."),
        ("zh_ja_mixture_cleaners", GREETING, "ni↓↑hau↓↑, ai↓li↓ ʃi→ya↓↑."),
        ("cjks_cleaners", "先生", "ʃen→s`əŋ→."),
        ("cjke_cleaners", "全部知识", "tʃʰɥæn↑p⁼u↓ ts`⁼ɹ`→s`ɹ`↑."),
        ("cjke_cleaners2", "日子", "ɹ`ɹ`↓ts⁼ɹ."),
        ("cjke_cleaners2", "日子。", "ɹ`ɹ`↓ts⁼."),
        ("cjke_cleaners2", "婆婆", "pʰwo↑pʰwo."),
        ("cjke_cleaners2", "二月、女儿；王", "əɹ`↓ɥɛ↓, nɥ↓↑əɹ`↑, uɑŋ↑."),
    ],
)
def test_mandarin(name: str, text: str, symbols: str):
    assert read(name, text, "zh") == symbols


def test_two_cleaners_have_the_name_of_chinese():
    assert read("chinese_cleaners", "你好A", "zh", BOPOMOFO) == "ㄋㄧˇㄏㄠˇㄟˉ。"
    assert read("chinese_cleaners", "你好。", "zh", BOPOMOFO) == "ㄋㄧˇㄏㄠˇ。"
    assert read("chinese_cleaners", "你好", "zh", [*"_abc123"]) == "ni3 hao3"


@needs_japanese
@pytest.mark.parametrize(
    ("name", "text", "symbols"),
    [
        ("japanese_cleaners", "こんにちは", "ko↑Nniʧiwa."),
        ("japanese_cleaners2", "切符、ひとつ…", "ki↑Qpu, hI↑to↓ʦu…"),
        ("zh_ja_mixture_cleaners", "切符", "ki↑Qpɯ."),
        ("cjke_cleaners2", "こんにちは。", "ko↑nn^itʃiwa."),
        ("cjke_cleaners2", "学校へ行く", "ga↑k#kooe i↑kɯ."),
        ("cjks_cleaners", "学校", "ga↑k#koː."),
        ("cjke_cleaners2", "私はエリシアです！", "wa↑taʃiwa e↑ɾi↓ʃiadesɯ*!"),
    ],
)
def test_japanese(name: str, text: str, symbols: str):
    assert read(name, text, "ja") == symbols


@needs_espeak
@pytest.mark.parametrize(
    ("name", "symbols"),
    [
        ("cjke_cleaners2", "həˈloʊ ˈwəɹɫd, maɪ ˈfɹɛnd!"),
        ("cjke_cleaners", "həˈlou ˈwəɹɫd, mai ˈfɹend!"),
        ("cjks_cleaners", "hə↓lou ↓wəɹld, mai ↓fɹend!"),
        ("english_cleaners2", "həlˈoʊ wˈɜːld, maɪ fɹˈɛnd!"),
    ],
)
def test_english(name: str, symbols: str):
    assert read(name, "Hello world, my friend!", "en") == symbols


@pytest.mark.parametrize(
    "language", ["zh", pytest.param("ja", marks=needs_japanese), pytest.param("en", marks=needs_espeak)]
)
def test_voices_for_several_languages_know_every_symbol_that_is_written(language: str):
    text = {
        "zh": "清晨的阳光照在花园里，她轻轻地笑了：“真是美好的一天！”二月、女儿、婆婆、云、学习？",
        "ja": "今日はとても良い天気ですね！一緒に散歩しませんか？学校、百回、東京、電車、本屋…",
        "en": "The quick brown fox, joyful as ever, jumps over the lazy dog; measure this thing!",
    }[language]
    left = set(read("cjke_cleaners2", text, language)) - set(ORIGINAL_SYMBOLS)
    assert left <= set("“”:;")


def test_what_cannot_be_read():
    assert find_cleaner("thai_cleaners", ORIGINAL_SYMBOLS) is None
    assert "cjke_cleaners2" in cleaner_names()
    with pytest.raises(UnspeakableError, match="cannot read 'ja'"):
        read("chinese_cleaners", "こんにちは", "ja")


def test_letters_and_marks_inside_mandarin_stay():
    assert cleaners_zh.ipa("T恤！") == "tʰi↓ʃɥ↓!"
