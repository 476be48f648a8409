"""Text from bytes of unknown encoding.

A byte order mark and strict UTF-8 settle most files. Short Chinese texts in GB18030, Big5 or UTF-16 give statistics
too little to go on, so each is tried strictly and judged by how ordinary its characters are: a wrong encoding gives
rare characters or none at all. What is left goes to charset-normalizer.
"""

import codecs
import re
from functools import cache

from elysia_chat.ingest.errors import BrokenFileError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BYTE_ENCODINGS = ("gb18030", "big5hkscs")
_WIDE_ENCODINGS = ("utf-16-le", "utf-16-be")
_FREQUENT = frozenset(
    "的一是不了在人有我他这個中大来上国到说們为子和你地出道也时要就下以生会那"
    "着過好看起发當没成只如事把还用第样而去能它她又自里后作對开天行學家心两本些"
    "这个们时为来说会国过发当还样对开学两点面年无与間问間經经現现無"
)  # fmt: skip
_PUNCTUATION = frozenset("，。、；：？！“”‘’「」『』（）《》〈〉【】…—～·　")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffe\uffff]|[\ud800-\udfff]|[\ue000-\uf8ff]")
_PLAUSIBLE = 0.6
_SAMPLE_CHARACTERS = 20_000


def decode(data: bytes, declared: str | None = None) -> str:
    """Return the text that the bytes hold.

    Args:
        data: a whole file.
        declared: encoding that the file itself names, tried before guessing.

    Raises:
        BrokenFileError: no encoding fits; the bytes are hardly text.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            marked = _strict(data, encoding)
            return _refuse() if marked is None else marked
    if declared and (text := _strict_declared(data, declared)) is not None:
        return text
    if b"\0" not in data and (text := _strict(data, "utf-8")) is not None:
        return text
    candidates = _WIDE_ENCODINGS if b"\0" in data else (*_BYTE_ENCODINGS, *_WIDE_ENCODINGS)
    decoded = [text for encoding in candidates if (text := _strict(data, encoding)) is not None]
    best = max(decoded, key=plausibility, default="")
    if best and plausibility(best) >= _PLAUSIBLE:
        return best
    return _by_statistics(data)


def plausibility(text: str) -> float:
    """Return how ordinary a text's characters are, from below 0 (noise) to about 1.

    ASCII says little, since most encodings share it; so the other characters decide where there are any.
    """
    sample = text[:_SAMPLE_CHARACTERS]
    others = [character for character in sample if ord(character) >= 128]
    if _CONTROL.search(sample):
        return -1.0
    if not others:
        return 1.0 if sample else 0.0
    return sum(map(_weight, others)) / len(others)


def _weight(character: str) -> float:
    if character in _FREQUENT:
        return 1.5
    if character in _PUNCTUATION or character in _ordinary_ideographs():
        return 1.0
    if "\uff01" <= character <= "\uff5e":  # full-width forms
        return 0.7
    return 0.0


@cache
def _ordinary_ideographs() -> frozenset[str]:
    """The characters that GB 2312 and Big5 put first because they are the frequent ones."""
    simplified = (bytes((high, low)) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF))
    traditional = (bytes((high, low)) for high in range(0xA4, 0xC7) for low in (*range(0x40, 0x7F), *range(0xA1, 0xFF)))
    texts = [pair.decode("gb2312", "ignore") for pair in simplified]
    texts += [pair.decode("big5", "ignore") for pair in traditional]
    return frozenset("".join(texts))


def _by_statistics(data: bytes) -> str:
    import charset_normalizer

    if b"\0" in data:
        return _refuse()
    match = charset_normalizer.from_bytes(data).best()
    return _refuse() if match is None else str(match)


def _strict_declared(data: bytes, declared: str) -> str | None:
    name = declared.strip().lower().replace("_", "-")
    # Pages that name the old standards mostly use characters of its successors.
    name = {"gb2312": "gb18030", "gbk": "gb18030", "big5": "big5hkscs"}.get(name, name)
    try:
        codecs.lookup(name)
    except (LookupError, ValueError):
        return None
    return _strict(data, name)


def _strict(data: bytes, encoding: str) -> str | None:
    try:
        return data.decode(encoding)
    except (UnicodeError, LookupError):
        return None


def _refuse() -> str:
    msg = "is not text in any encoding known here; save it as UTF-8"
    raise BrokenFileError(msg)
