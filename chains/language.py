"""Which of the two languages of the product a text is in."""

import re
from typing import Literal

Language = Literal["zh", "en"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
# The small words of a sentence tell its language; names of the other language may stand in it.
_CHINESE_SMALL_WORD = re.compile(r"[的是了吗呢吧谁哪什么怎样在和与为有没不你我她他它们这那几多啊呀]")
_ENGLISH_SMALL_WORD = re.compile(
    r"\b(?:who|what|when|where|why|how|which|is|are|was|were|do|does|did|the|an?|of|to|in|on|and|you|your|i|my|me|tell|about"
    r"|can|could|has|have|had|she|he|it|her|his|its|they|their|with|for|from)\b",
    re.IGNORECASE,
)


def detect_language(text: str, default: Language = "zh") -> Language:
    """Return 'zh' or 'en', by the small words of the text and else by whether it has more characters or Latin words.

    “Who is 爱莉希雅?” is English and “Elysia 是谁” Chinese. A text with neither script (“?”, an emoji) is `default`.
    """
    han, latin = len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))
    if not han and not latin:
        return default
    chinese, english = len(_CHINESE_SMALL_WORD.findall(text)), len(_ENGLISH_SMALL_WORD.findall(text))
    if chinese != english:
        return "zh" if chinese > english else "en"
    return "zh" if han >= latin else "en"
