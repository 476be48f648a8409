"""Which of the two languages of the product a text is in."""

import re
from typing import Literal

Language = Literal["zh", "en"]

_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_LATIN_WORD = re.compile(r"[A-Za-z]{2,}")


def detect_language(text: str, default: Language = "zh") -> Language:
    """Return 'zh' or 'en', whichever has more words; one Chinese character counts as half a word.

    A Chinese sentence with an English name in it stays Chinese. A text with neither (“?”, an emoji) is `default`.
    """
    han, latin = len(_HAN.findall(text)), len(_LATIN_WORD.findall(text))
    if not han and not latin:
        return default
    return "zh" if han >= latin else "en"
