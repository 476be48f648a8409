"""Splits text by script, so that each part goes to a voice that can say it."""

import re
from dataclasses import dataclass

HAN = r"\u3005\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
KANA = r"\u3040-\u309f\u30a0-\u30fa\u30fc-\u30ff"
_LATIN = r"A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_GREEK = r"\u0391-\u03c9"
_CJK_RUN = re.compile(rf"[{HAN}{KANA}]+")
_UNIT = re.compile(
    r"(?<=\d)\s?(?:km/h|m/s|[kMG]?Hz|k?Wh|kW|mAh|[kKMGT]B(?:/s)?|[kM]bps|min|rpm|ppm|fps|kcal|h?k?Pa"
    r"|[kcdmn]?m[²³]?|[km]?g|m?[lL]|dB|px|°[CF]|[hs])(?![A-Za-z])"
)
# From the first Latin letter to the last one before another script or a wide mark, with a number behind it that counts
# no Chinese things (iPhone 15, but not 15 个).
_LATIN_RUN = re.compile(
    rf"(?:\d+(?=(?:st|nd|rd|th)\b))?[{_LATIN}](?:[^{HAN}{KANA}\u3000-\u303f\uff00-\uffef“”…]*[{_LATIN}])?"
    rf"(?:'(?![{_LATIN}]))?"
    rf"(?:[ -]?\d+(?:\.\d+)*(?![{_LATIN}\d.:%]|\s*[个只位条次年月日岁元块分点时秒天周名人件本张把家级层度倍万亿千百]))?"
)
_LETTERS = re.compile(rf"[{_LATIN}]")
_OTHER = re.compile(rf"(?:(?![{HAN}{KANA}{_LATIN}{_GREEK}ªº²³¹¼-¾])[^\W\d_])+")
_JAPANESE_SHARE = 0.2
_SHORT_LATIN = 2
OTHER = "other"


@dataclass(frozen=True)
class Piece:
    """A part of a sentence in one language.

    Attributes:
        language: "zh", "en", "ja"; "other" for a script that no voice is known for.
        text: what to say, with its punctuation.
    """

    language: str
    text: str


def split_scripts(text: str, default_language: str) -> list[Piece]:
    """Return the parts of a text by language, in order; their texts joined are the text.

    One or two capital letters, and units behind numbers, stay with the Chinese or Japanese around them. Numbers and
    punctuation belong to what stands before them. A text without letters is in the default language.
    """
    labels: list[str | None] = [None] * len(text)
    for run in _CJK_RUN.finditer(text):
        _fill(labels, run.span(), _cjk_language(text, run.span()))
    around = next((label for label in labels if label), None)
    # Units within Chinese are hidden from the search for Latin words.
    words = text if around is None else _UNIT.sub(lambda unit: "，" * len(unit.group()), text)
    for run in _LATIN_RUN.finditer(words):
        if around is None or not _is_spelled("".join(_LETTERS.findall(run.group()))):
            _fill(labels, run.span(), "en")
    for run in _OTHER.finditer(text):
        _fill(labels, run.span(), OTHER)
    return _pieces(text, labels, around or default_language)


def main_language(text: str) -> str | None:
    """Return the language that most of a text is in; None where it has no letters."""
    counts = {
        "en": len(re.findall(rf"[{_LATIN}]+", text)),
        "zh": len(re.findall(rf"[{HAN}]", text)),
        "ja": 3 * len(re.findall(rf"[{KANA}]", text)),
    }
    language = max(counts, key=lambda key: counts[key])
    return language if counts[language] else None


def _is_spelled(letters: str) -> bool:
    return len(letters) == 1 or (len(letters) <= _SHORT_LATIN and (letters.isupper() or letters == "ok"))


def _cjk_language(text: str, span: tuple[int, int]) -> str:
    """Kana make a text Japanese, unless there are few of them within Chinese."""
    here, everywhere = (len(re.findall(rf"[{KANA}]", part)) for part in (text[slice(*span)], text))
    total = len(re.findall(rf"[{KANA}{HAN}]", text))
    much = everywhere >= _JAPANESE_SHARE * total and (everywhere > 1 or total == 1)
    return "ja" if much and (here or everywhere >= total / 2) else "zh"


def _fill(labels: list[str | None], span: tuple[int, int], language: str) -> None:
    labels[span[0] : span[1]] = [language] * (span[1] - span[0])


def _pieces(text: str, labels: list[str | None], default: str) -> list[Piece]:
    """Join neighbours of one language; what has no label goes with what stands before it."""
    pieces: list[Piece] = []
    current = next((label for label in labels if label), default)
    start = labelled = 0
    for position, label in enumerate(labels):
        if label is not None and label != current:
            cut = labelled + _before_number(text[labelled:position], current, label)
            pieces.append(Piece(current, text[start:cut]))
            start, current = cut, label
        if label is not None:
            labelled = position + 1
    if start < len(text):
        pieces.append(Piece(current, text[start:]))
    return pieces


def _before_number(between: str, before: str, after: str) -> int:
    """Return where the next piece begins: a number between English and Chinese words belongs to the Chinese."""
    if after in ("zh", "ja") and before == "en":
        number = re.search(r"[-+]?[$€£¥￥]?\d[\d.,:/%-]*\s?$", between)
        if number is not None:
            return number.start()
    return len(between)
