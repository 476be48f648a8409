"""Mandarin in the notations of VITS voices: bopomofo, pinyin, and three ways of writing its sounds in Latin letters.

Each notation is two tables: what a syllable begins with, and what it ends with. Words are those of jieba, readings
those of pypinyin.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

_HAN = re.compile(r"[\u4e00-\u9fff]")
_INITIALS = "ㄅㄆㄇㄈㄉㄊㄋㄌㄍㄎㄏㄐㄑㄒㄓㄔㄕㄖㄗㄘㄙ"
_FINALS = "ㄚㄛㄜㄝㄞㄟㄠㄡㄢㄣㄤㄥㄦㄧㄨㄩ"
_TONES = "ˉˊˇˋ˙"
_SYLLABLE = re.compile(f"([{_INITIALS}]?)([{_FINALS}]*)([{_TONES}]?)")
_CONTOURS = {"ˉ": "→", "ˊ": "↑", "ˇ": "↓↑", "ˋ": "↓", "˙": "", "": ""}
_VOWELS_ALONE = {**dict.fromkeys("ㄓㄔㄕㄖ", "ɹ`"), **dict.fromkeys("ㄗㄘㄙ", "ɹ")}
_LABIALS = tuple("ㄅㄆㄇㄈ")
_PAUSES = str.maketrans("、；：", "，，，")
_MARKS = str.maketrans("，。！？—", ",.!?-")


def _table(keys: str, values: str) -> dict[str, str]:
    return dict(zip(keys.split(), values.split(), strict=True))


# How the names of Latin letters were spelled for these voices.
_LETTERS = _table(
    "a b c d e f g h i j k l m n o p q r s t u v w x y z",
    "ㄟˉ ㄅㄧˋ ㄙㄧˉ ㄉㄧˋ ㄧˋ ㄝˊㄈㄨˋ ㄐㄧˋ ㄝˇㄑㄩˋ ㄞˋ ㄐㄟˋ ㄎㄟˋ ㄝˊㄛˋ ㄝˊㄇㄨˋ "
    "ㄣˉ ㄡˉ ㄆㄧˉ ㄎㄧㄡˉ ㄚˋ ㄝˊㄙˋ ㄊㄧˋ ㄧㄡˉ ㄨㄧˉ ㄉㄚˋㄅㄨˋㄌㄧㄡˋ ㄝˉㄎㄨˋㄙˋ ㄨㄞˋ ㄗㄟˋ",
)


@dataclass(frozen=True)
class _Notation:
    """How syllables are written.

    Attributes:
        initials: by bopomofo.
        finals: by bopomofo, medial and rhyme together.
    """

    initials: Mapping[str, str]
    finals: Mapping[str, str]

    def syllable(self, initial: str, final: str, tone: str, *, last: bool) -> str:
        """Write a syllable; `last` where a space or nothing comes after it."""
        beginning = self.initials[initial] if initial else ""
        if not final:
            # These voices learned the neutral tone without the vowel, except at the end of a word.
            sounded = bool(_CONTOURS[tone]) or last
            return beginning + (_VOWELS_ALONE.get(initial, "") if sounded else "") + _CONTOURS[tone]
        ending = "wo" if final == "ㄛ" and initial in _LABIALS else self._ending(final)
        return beginning + ending + _CONTOURS[tone]

    def _ending(self, final: str) -> str:
        # Names of letters have endings that no word has.
        return self.finals.get(final) or "".join(self.finals[part] for part in final)


_FINAL_KEYS = (
    "ㄚ ㄛ ㄜ ㄝ ㄞ ㄟ ㄠ ㄡ ㄢ ㄣ ㄤ ㄥ ㄦ ㄧ ㄧㄚ ㄧㄛ ㄧㄝ ㄧㄞ ㄧㄠ ㄧㄡ ㄧㄢ ㄧㄣ ㄧㄤ ㄧㄥ "
    "ㄨ ㄨㄚ ㄨㄛ ㄨㄞ ㄨㄟ ㄨㄢ ㄨㄣ ㄨㄤ ㄨㄥ ㄩ ㄩㄝ ㄩㄢ ㄩㄣ ㄩㄥ"
)
_INITIAL_KEYS = " ".join(_INITIALS)
_ROMAJI = _Notation(
    _table(_INITIAL_KEYS, "p⁼ pʰ m f t⁼ tʰ n l k⁼ kʰ h ʧ⁼ ʧʰ ʃ ʦ`⁼ ʦ`ʰ s` ɹ` ʦ⁼ ʦʰ s"),
    _table(
        _FINAL_KEYS,
        "a o ə e ai ei au ou aNN əNN aNg əNg əɹ` i ya yo ye yai yau you yeNN iNN yaNg iNg u wa wo wai wei waNN wəNN "
        "waNg uNg ɥ ɥe ɥaNN ɥəNN yuNg",
    ),
)
_IPA = _Notation(
    _table(_INITIAL_KEYS, "p⁼ pʰ m f t⁼ tʰ n l k⁼ kʰ x tʃ⁼ tʃʰ ʃ ts`⁼ ts`ʰ s` ɹ` ts⁼ tsʰ s"),
    _table(
        _FINAL_KEYS,
        "a o ə ɛ aɪ eɪ ɑʊ oʊ an ən ɑŋ əŋ əɹ` i ja jo iɛ jaɪ iɑʊ joʊ jɛn in iɑŋ iŋ u wa wo waɪ weɪ wan wən uɑŋ ʊŋ ɥ ɥɛ "
        "ɥæn ɥn jʊŋ",
    ),
)
_SHORTENED_GLIDES = ("ʃy", "ʧʰy", "ʧ⁼y")


def bopomofo(text: str) -> str:
    """Return text with its Chinese words in bopomofo, a space before each, and tones marked on every syllable."""
    import jieba
    from pypinyin import Style, lazy_pinyin

    jieba.setLogLevel("WARNING")
    written = ""
    for word in jieba.lcut(text.translate(_PAUSES)):
        if not _HAN.search(word):
            written += word
            continue
        read = lazy_pinyin(word, style=Style.BOPOMOFO)
        written += (" " if written else "") + "".join(map(_with_tone, read))
    return "".join(_LETTERS.get(letter.lower(), letter) for letter in written)


def bopomofo_with_stop(text: str) -> str:
    """Return bopomofo that ends with a full stop where no mark ends it."""
    written = bopomofo(text)
    return f"{written}。" if written.endswith(tuple(_TONES)) else written


def numbered_pinyin(text: str) -> str:
    """Return pinyin syllables with the number of their tone, parted by spaces."""
    from pypinyin import Style, lazy_pinyin

    return " ".join(lazy_pinyin(text, style=Style.TONE3))


def romaji(text: str) -> str:
    """Return Mandarin as voices for Mandarin and Japanese write it."""
    return _write(text, _ROMAJI)


def lazy_ipa(text: str) -> str:
    """Return Mandarin as voices of `cjks_cleaners` write it."""
    written = romaji(text)
    for glide in _SHORTENED_GLIDES:
        written = written.replace(glide, glide[:-1])
    return written.replace("NN", "n").replace("Ng", "ŋ").replace("y", "j").replace("h", "x")


def plain_ipa(text: str) -> str:
    """Return Mandarin as voices of `cjke_cleaners` write it."""
    return lazy_ipa(text).replace("ʧ", "tʃ").replace("ʦ", "ts").replace("ɥan", "ɥæn")


def ipa(text: str) -> str:
    """Return Mandarin as voices of `cjke_cleaners2` write it."""
    return _write(text, _IPA)


def _write(text: str, notation: _Notation) -> str:
    spelled = bopomofo(text)
    written, place = "", 0
    while place < len(spelled):
        found = _syllables().match(spelled, place)
        if found is None:
            written += spelled[place]
            place += 1
            continue
        place = found.end()
        last = place == len(spelled) or spelled[place] == " "
        written += notation.syllable(found[1], found[2], found[3], last=last)
    return written.translate(_MARKS)


@cache
def _syllables() -> re.Pattern[str]:
    """Return a pattern of one syllable that is not empty."""
    return re.compile(f"(?=[{_INITIALS}{_FINALS}]){_SYLLABLE.pattern}")


def _with_tone(syllable: str) -> str:
    """Mark the first tone, which bopomofo leaves unmarked."""
    return f"{syllable}ˉ" if syllable[-1:] and syllable[-1] in _INITIALS + _FINALS else syllable
