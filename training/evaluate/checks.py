"""Checks of a single reply that need no judge: does it name the persona, does it loop, is it in the right language?"""

import re
import unicodedata
from collections.abc import Sequence
from difflib import SequenceMatcher

from elysia_chat.chains.language import Language, detect_language
from elysia_chat.chains.prompt import strip_citations

_ALIKE = 0.9
_GRAM = 4
_MIN_GRAMS = 24
_DISTINCT_GRAMS = 0.5
_COPIED = 16
_UNIT = re.compile(r"[a-z0-9']+|[\u3400-\u9fff]")
_RUN = re.compile(r"(\S.{1,40}?)\1{3,}", re.DOTALL)
_SAID_ZH = r"(?:我是|我叫|我就是|我名叫|我的名字[是叫]?|名字[是叫]|叫我|唤我|称呼?我为?)[^。！？!?\n]{0,14}?"
_SAID_EN = r"\b(?:i'm|i am|my name is|my name's|name's|call me|this is|known as)\b[^.!?\n]{0,24}?"


def plain(text: str) -> str:
    """Return a text in one width and case, without passage numbers."""
    return unicodedata.normalize("NFKC", strip_citations(text)).casefold().replace("’", "'").strip()


def names_itself(reply: str, names: Sequence[str]) -> bool:
    """Tell whether a reply says one of the names."""
    return any(plain(name) in plain(reply) for name in names)


def introduces_itself(reply: str, names: Sequence[str]) -> bool:
    """Tell whether a reply presents its speaker by name (“我是…”, “my name is …”); naming in passing does not count."""
    choices = "|".join(re.escape(plain(name)) for name in sorted(names, key=len, reverse=True))
    return re.search(rf"(?:{_SAID_ZH}|{_SAID_EN})(?:{choices})", plain(reply)) is not None


def loops(reply: str) -> bool:
    """Tell whether a reply repeats itself: a phrase four times in a row, or mostly the same groups of four words."""
    text = plain(reply)
    if any(len(run.group(0)) >= _GRAM * 2 for run in _RUN.finditer(text)):
        return True
    units = _UNIT.findall(text)
    grams = [tuple(units[start : start + _GRAM]) for start in range(len(units) - _GRAM + 1)]
    return len(grams) >= _MIN_GRAMS and len(set(grams)) / len(grams) < _DISTINCT_GRAMS


def is_sound(reply: str, language: Language) -> bool:
    """Tell whether a reply says something, in the language of its question, without going round in circles."""
    words = _UNIT.findall(plain(reply))
    return bool(words) and detect_language(reply, default=language) == language and not loops(reply)


def copies(reply: str, given: str) -> bool:
    """Tell whether a reply repeats sixteen words in a row of what it was given, as a mere continuation of text does."""
    words, source = _UNIT.findall(plain(reply)), _UNIT.findall(plain(given))
    matcher = SequenceMatcher(None, source, words, autojunk=False)
    return matcher.find_longest_match().size >= _COPIED


def distinct(replies: Sequence[str]) -> int:
    """Count replies that differ from each other; two that are nine tenths the same count as one."""
    kept: list[str] = []
    for reply in replies:
        text = "".join(_UNIT.findall(plain(reply)))
        if not any(_alike(text, other) for other in kept):
            kept.append(text)
    return len(kept)


def _alike(first: str, second: str) -> bool:
    matcher = SequenceMatcher(None, first, second, autojunk=False)
    return first == second or (matcher.quick_ratio() >= _ALIKE and matcher.ratio() >= _ALIKE)
