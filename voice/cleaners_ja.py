"""Japanese in the notations of VITS voices: phonemes and pitch accent of Open JTalk, written in several ways."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

from elysia_chat.voice.errors import VoicePackageError

RISE, FALL, PHRASE = "↑", "↓", " "
_WORDS = re.compile(r"[A-Za-z\d\u3005\u3040-\u30ff\u4e00-\u9fff\uff11-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uff9d]+")
_MARKS = {"、": ",", "，": ",", "。": ".", "．": ".", "！": "!", "？": "?", "～": "~", "〜": "~", "…": "...", "—": "-"}
_LABEL = re.compile(r"-(?P<phoneme>[^+]*)\+.*?/A:(?P<a1>-?\d+|xx)\+(?P<a2>\d+|xx)\+(?P<a3>\d+|xx)/")
_VOWELS = "aiueo"


@dataclass(frozen=True)
class _Phoneme:
    """A phoneme of Open JTalk's full-context labels.

    Attributes:
        name: such as "ky" or "a".
        to_accent: place of its mora minus that of the accent (A1).
        place: of its mora in the accent phrase, from 1 (A2).
        left: places to the end of the phrase, from 1 (A3).
    """

    name: str
    to_accent: int
    place: int
    left: int


def romaji(text: str) -> str:
    """Return Japanese as voices of `japanese_cleaners` write it."""
    return "".join(_spoken(text))


def romaji_with_ts(text: str) -> str:
    """Return Japanese as voices of `japanese_cleaners2` write it."""
    return romaji(text).replace("ts", "ʦ").replace("...", "…")


def mixture(text: str) -> str:
    """Return Japanese as voices of `zh_ja_mixture_cleaners` write it."""
    return romaji(text).replace("ts", "ʦ").replace("u", "ɯ").replace("...", "…")


def lazy_ipa(text: str) -> str:
    """Return Japanese as voices of `cjks_cleaners` write it."""
    return _ipa(_lengthened(_spoken(text)), {"ts": "ʦ", "j": "ʥ", "ʧ": "ʧ"})


def plain_ipa(text: str) -> str:
    """Return Japanese as voices of `cjke_cleaners` write it."""
    return lazy_ipa(text).replace("ʧ", "tʃ").replace("ʦ", "ts").replace("ʥ", "dz")


def ipa(text: str) -> str:
    """Return Japanese as voices of `cjke_cleaners2` write it."""
    return _ipa(_spoken(text), {"ts": "ts", "j": "dʑ", "ʧ": "tʃ"})


def _spoken(text: str) -> list[str]:
    """Return phonemes, pitch marks, spaces between phrases, and marks of punctuation, in order."""
    text = text.replace("％", "パーセント")
    parts: list[str] = []
    end = 0
    for found in _WORDS.finditer(text):
        parts += _punctuation(text[end : found.start()])
        if parts:
            parts.append(PHRASE)
        parts += _phrase(found[0])
        end = found.end()
    return parts + _punctuation(text[end:])


def _punctuation(marks: str) -> list[str]:
    return [_MARKS.get(mark, mark) for mark in marks if not mark.isspace()]


def _phrase(words: str) -> Iterable[str]:
    for here, after in pairwise([*_phonemes(words), None]):
        if here is None:
            continue
        yield here.name.replace("ch", "ʧ").replace("sh", "ʃ").replace("cl", "Q")
        following = after.place if after else -1
        if here.left == 1 and following == 1:
            yield PHRASE
        elif here.to_accent == 0 and following == here.place + 1:
            yield FALL
        elif here.place == 1 and following == 2:
            yield RISE


def _phonemes(words: str) -> list[_Phoneme | None]:
    """Return the phonemes of a run of words, None for silence."""
    found = [match for label in _labels()(words) if (match := _LABEL.search(label))]
    return [
        None
        if match["phoneme"] in ("sil", "pau")
        else _Phoneme(match["phoneme"], int(match["a1"]), int(match["a2"]), int(match["a3"]))
        for match in found
    ]


@lru_cache(maxsize=1)
def _labels() -> Callable[[str], list[str]]:
    try:
        import pyopenjtalk
    except ImportError as error:
        msg = "Reading Japanese needs the package pyopenjtalk-plus: pip install 'elysia-chat[japanese]'"
        raise VoicePackageError(msg) from error
    labels: Any = pyopenjtalk.extract_fullcontext
    return lambda words: list(labels(words))


def _lengthened(parts: list[str]) -> list[str]:
    """Write the second of two equal vowels as a length mark."""
    made, vowel = [], ""
    for part in parts:
        made.append("ː" if part == vowel else part)
        vowel = part if part in tuple(_VOWELS) else ""
    return made


# What the moraic nasal and the geminate become before a consonant, by its first letter.
_NASALS = {**dict.fromkeys("pbm", "m"), **dict.fromkeys("ʧj", "n^"), **dict.fromkeys("tdn", "n"), "k": "ŋ", "g": "ŋ"}
_GEMINATES = {
    **dict.fromkeys("kg", "k#"), **dict.fromkeys("tdjʧ", "t#"), **dict.fromkeys("sʃ", "s"), **dict.fromkeys("pb", "p#")
}  # fmt: skip
_SOUNDS = {
    "u": "ɯ", "y": "j", "f": "ɸ", "I": "i*", "U": "ɯ*", "r": "ɾ", "ry": "ɾj", "ny": "n^", "hy": "ç", "fy": "ɸj"
}  # fmt: skip


def _ipa(parts: list[str], affricates: Mapping[str, str]) -> str:
    written = []
    for number, part in enumerate(parts):
        after = parts[number + 1] if number + 1 < len(parts) else ""
        if part in "NQ" and part:
            ahead = next((later for later in parts[number + 1 :] if later not in (RISE, FALL)), "")
            written.append((_NASALS if part == "N" else _GEMINATES).get(ahead[:1], part))
        elif part in affricates:
            written.append(affricates[part])
        elif part in ("n", "h") and after == "i":
            written.append({"n": "n^", "h": "ç"}[part])
        else:
            written.append(_SOUNDS.get(part) or (part[:-1] + "j" if len(part) == 2 and part[1] == "y" else part))
    return "".join(written).replace("...", "…")
