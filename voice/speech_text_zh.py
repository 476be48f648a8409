"""Chinese text to what is said: numbers, units and letters as characters, Chinese punctuation only."""

import re
from collections.abc import Callable

from elysia_chat.voice.speech_text_scripts import HAN
from elysia_chat.voice.speech_text_wetext import normalise

Replacement = str | Callable[[re.Match[str]], str]


def _grouped(found: re.Match[str]) -> str:
    """Write a number out whose digits stand in groups of three; without them it would pass for a telephone number."""
    import cn2an

    return str(cn2an.an2cn(re.sub("[,，]", "", found.group())))


_RULES: tuple[tuple[re.Pattern[str], Replacement], ...] = tuple(
    (re.compile(pattern), replacement)
    for pattern, replacement in (
        (r"[￥¥]\s?(?=\d)", "￥"),
        (r"(\d[\d,.]*)\s?([￥$€£])", r"\2\1"),
        (r"([￥$€£]\d[\d,.]*\d)\s*元", r"\1"),
        (
            r"(?<=[￥$€£])\d{1,3}(?:,\d{3})+|(?<![\d.,])\d{1,3}(?:,\d{3})+(?=(?:\.\d+)?\s?[A-Za-z%℃°])",
            lambda found: found.group().replace(",", ""),
        ),
        (r"(?<![\d.,])\d{1,3}(?:[,，]\d{3})+(?:\.\d+)?(?![\d,])", _grouped),
        (r"(?<![\d.])(?!\d{4}\.)\d+(?:\.\d+){2,}(?![\d.])", lambda found: found.group().replace(".", "点")),
        (r"\^(\d+)", r"的\1次方"),
        (r"\bN[oO]\.\s?(?=\d)", "第"),
        (r"(?<![\d.%])[~≈]\s?(?=\d)", "约"),
        (r"±\s?(?=\d)", "正负"),
        (r"(\d%)\s?[-~]\s?(?=\d)", r"\1到"),
        (r"\+\+", "加加"),
        # A range of two plain numbers; dates and telephone numbers have more parts or longer ones.
        (r"(?<![\d\-./:])(\d{1,4}(?:\.\d+)?)\s*[-–—]\s*(\d{1,4}(?:\.\d+)?)(?![\d\-./:]|\s*年)", r"\1到\2"),
        (r"(\d+(?:\.\d+)?)\s?‰", r"千分之\1"),
        (r"(?<=\d)\s?×\s?(?=\d)", "乘"),
        (r"(?<=\d)\s?÷\s?(?=\d)", "除以"),
        (r"\s?\+\s?(?=[\dA-Za-z])", "加"),
        (r"\s?=\s?", "等于"),
        (r"\s?&\s?", "和"),
        (r"\s?<\s?(?=\d)", "小于"),
        (r"\s?>\s?(?=\d)", "大于"),
        (r"½", "二分之一"),
        (r"¼", "四分之一"),
        (r"¾", "四分之三"),
        (r"π", "派"),
        (r"の", "的"),
    )
)
_UNITS = {
    "kHz": "千赫兹", "MHz": "兆赫兹", "GHz": "吉赫兹", "Hz": "赫兹",
    "GB/s": "吉字节每秒", "MB/s": "兆字节每秒", "KB": "千字节", "kB": "千字节", "MB": "兆字节", "GB": "吉字节",
    "TB": "太字节", "Mbps": "兆比特每秒", "Gbps": "吉比特每秒", "kbps": "千比特每秒",
    "kWh": "千瓦时", "mAh": "毫安时", "mL": "毫升", "hPa": "百帕", "kPa": "千帕", "Pa": "帕", "dB": "分贝",
    "fps": "帧每秒", "ppm": "百万分之一", "W": "瓦", "g": "克",
}  # fmt: skip
_UNIT = re.compile(rf"(?<=\d)\s?({'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![A-Za-z/])")
# How the letters are called in Chinese speech.
_LETTERS = {
    "A": "诶", "B": "必", "C": "西", "D": "弟", "E": "亿", "F": "艾弗", "G": "鸡", "H": "诶曲", "I": "艾", "J": "杰",
    "K": "开", "L": "艾勒", "M": "艾姆", "N": "恩", "O": "欧", "P": "批", "Q": "丘", "R": "阿尔", "S": "艾斯",
    "T": "踢", "U": "优", "V": "微", "W": "达不溜", "X": "艾克斯", "Y": "歪", "Z": "贼德",
}  # fmt: skip
_DIGITS = "零一二三四五六七八九"
_PUNCTUATION = str.maketrans({",": "，", "!": "！", "?": "？", ";": "；", ":": "：", "…": "…"})


def chinese(text: str) -> str:
    """Return Chinese text as characters and the marks ，。！？；：、… alone.

    Latin letters, of which there are one or two in a row here, become their Chinese names.
    """
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = _UNIT.sub(lambda unit: _UNITS[unit.group(1)], text)
    text = normalise(text, "zh").replace("²", "的平方").replace("³", "的立方")
    text = re.sub(r"\d", lambda digit: _DIGITS[int(digit.group())], text)
    text = re.sub(r"[A-Za-z]", lambda letter: _LETTERS[letter.group().upper()], text)
    text = re.sub(r"\.(?!\d)", "。", text).translate(_PUNCTUATION)
    text = re.sub(rf"[^{HAN}，。！？；：、…]+", lambda other: "，" if "-" in other.group() else "", text)
    return re.sub(r"，+(?=[，。！？；：、…])", "", text).lstrip("，。！？；：、…")
