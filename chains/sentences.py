"""Cuts a stream of tokens into sentences as soon as each is certain.

Chinese sentences end with their punctuation at once; an English end mark ends one only where a new sentence follows,
and not in a number, an address, an abbreviation or an initial. Closing quotes and brackets, further end marks and
citation numbers stay with their sentence. Since the sentences are also spoken, long ones at the beginning are cut at
commas, a very short one is joined to the next, and a text without full stops is cut at sensible places. Nothing is
lost: the sentences joined are the text.
"""

import re
from collections.abc import Iterator
from typing import Literal

_Decision = Literal["cut", "go on", "wait"]

# Lengths are counted in units: one for a character of Chinese, Japanese or Korean, two for a word of other scripts.
_SHORTEST_FIRST, _SHORTEST = 2, 4
# The first two may end at a comma: a short beginning is heard early, and while it sounds the next one, which may be
# twice as long, is spoken.
_CUTS_AT_COMMA = (7, 14)
_LONGEST = 60
_LONGEST_CHARACTERS = 400

_EAST_ASIAN = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uf900-\ufaff"
_WORD = re.compile(rf"[{_EAST_ASIAN}]|(?:(?![{_EAST_ASIAN}])[^\W_])+(?:['’.,:-](?:(?![{_EAST_ASIAN}])[^\W_])+)*")
_WIDE_END = "。！？…；♪～"
_WIDE_CLOSING = "”’」』）】〉》"
_CITATION = r"\s?\[\d{1,2}(?:\s?[,，、-]\s?\d{1,2}){0,8}\]"
_BOUNDARY = re.compile(rf"[{_WIDE_END}.!?;~\n，,：]")
_TAIL = re.compile(rf"(?:[{re.escape(_WIDE_END + _WIDE_CLOSING)}.!?~\"')\]]|{_CITATION})*")
_CITATION_BEGUN = re.compile(r"\s?(?:\[[\d,，、\s-]{0,40})?")
_SPACE_THEN_WORD = re.compile(r"\s+(?:([A-Za-z']+)(.?))?")
_ALWAYS_GOES_ON = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Gen|Col|Lt|Sgt|Capt|Rev|Hon|Mt|Fig|Vol|vs|cf|approx|pp|e\.g|i\.e)|(?:^|\n)\s*\d{1,3})\.$",
    re.IGNORECASE,
)
_OFTEN_GOES_ON = re.compile(r"\b(?:[A-HJ-Z]|St|Jr|Sr|Inc|Ltd|Co|Corp|etc|al|[ap]\.m|(?:[A-Z]\.)+[A-Z]|Ph\.D)\.$")
_BEFORE_NUMBERS = re.compile(r"\b(?:No|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.$")
_STARTER = re.compile(
    "i|he|she|it|we|you|they|the|an?|this|that|these|those|there|then|here|what|who|when|where|why|how|but|and|so|or|"
    "if|in|on|at|my|your|his|her|its|our|their|is|are|do|did|no|yes|not|now|as|after|before|let|please|oh|well",
    re.IGNORECASE,
)
_SOFT_BOUNDARY = re.compile(r"[，、：；,;:—](?!\d)|\s")
_UNBROKEN = re.compile(r"[A-Za-z0-9./:%_?&=#@+-]+$")


class SentenceSplitter:
    """Takes tokens, gives sentences: `feed` while the text grows, `close` at its end."""

    def __init__(self) -> None:
        self._buffer = ""
        self._given = 0

    def feed(self, text: str) -> Iterator[str]:
        """Add text and yield the sentences that are now certain to be complete."""
        self._buffer += text
        yield from self._cut_all(final=False)

    def close(self) -> Iterator[str]:
        """Yield what is left."""
        yield from self._cut_all(final=True)
        rest, self._buffer, self._given = self._buffer, "", 0
        if rest.strip():
            yield rest

    def _cut_all(self, *, final: bool) -> Iterator[str]:
        while (cut := _first_cut(self._buffer, given=self._given, final=final)) is not None:
            sentence, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if sentence.strip():
                self._given += 1
                yield sentence


def _first_cut(text: str, *, given: int, final: bool) -> int | None:
    """Return where the next sentence ends after `given` others, None while more text could still change that."""
    limit = _limit(text)
    shortest = _SHORTEST if given else _SHORTEST_FIRST
    at_comma = _CUTS_AT_COMMA[given] if given < len(_CUTS_AT_COMMA) else None
    for match in _BOUNDARY.finditer(text, 0, limit + 1):
        is_comma = match.group() in "，,："
        if is_comma and at_comma is None:
            continue
        end = _end_of_tail(text, match.end())
        decision = _decide(text, match.start(), end, final=final)
        if decision == "wait":
            return None
        enough = _units(text[:end]) >= ((at_comma or 0) if is_comma else shortest)
        if decision == "cut" and enough:
            return end
    return _forced_cut(text, limit) if limit < len(text) else None


def _decide(text: str, position: int, end: int, *, final: bool) -> _Decision:
    """Tell whether the sentence whose end mark is at `position` ends at `end`, the mark's closing quotes included."""
    mark, following = text[position], text[end:]
    if not final and _CITATION_BEGUN.fullmatch(following):
        return "wait"
    before = text[position - 1] if position else ""
    if mark == "\n":
        return "cut"
    if mark in "～~，,：" and before.isdigit() and text[position + 1 : position + 2].isdigit():
        return "go on"
    if mark in _WIDE_END + "，：" or any(mark in _WIDE_END + _WIDE_CLOSING for mark in text[position + 1 : end]):
        return _decide_ellipsis(following, final=final) if mark == "…" else "cut"
    if mark == ";" and re.search(r"&\w+;$", text[: position + 1]):
        return "go on"
    if not following or following[0].isspace():
        return _decide_ascii(text[: position + 1], mark, following, final=final)
    joined = _is_east_asian(following[0]) and (mark in "!?" or _is_east_asian(before))
    return "cut" if joined else "go on"


def _decide_ellipsis(following: str, *, final: bool) -> _Decision:
    """An English sentence goes on behind an ellipsis where a small letter follows in the same line."""
    blanks = len(following) - len(following.lstrip(" \t"))
    if blanks == len(following) and not final:
        return "wait"
    return "go on" if re.match(r"[a-z]", following[blanks:]) else "cut"


def _decide_ascii(head: str, mark: str, following: str, *, final: bool) -> _Decision:
    """Decide on an ASCII mark before white space, by the word that follows."""
    if mark == "." and _ALWAYS_GOES_ON.search(head):
        return "go on"
    if mark in ",;~":
        return "cut"
    found = _SPACE_THEN_WORD.match(following)
    if found is None or "\n" in found.group():
        return "cut"
    word, after = found.group(1), found.group(2)
    if word is None:
        undecided = found.end() == len(following) and not final
        if undecided:
            return "wait"
        is_number = re.match(r"\s+\d", following) is not None
        return "go on" if mark == "." and is_number and _BEFORE_NUMBERS.search(head) else "cut"
    if word[0].islower():
        return "go on"
    if mark == "." and _OFTEN_GOES_ON.search(head):
        if not after and not final:
            return "wait"
        return "cut" if _STARTER.fullmatch(word) else "go on"
    return "cut"


def _end_of_tail(text: str, position: int) -> int:
    """Return where closing quotes, further marks and citations end; a straight quote that opens is none of them."""
    found = _TAIL.match(text, position)
    end = found.end() if found else position
    for place in range(position, end):
        if text[place] == '"' and text.count('"', 0, place) % 2 == 0:
            return place
    return end


def _limit(text: str) -> int:
    """Return the index that a sentence may not pass; the text's length where it is short enough."""
    units = 0
    for match in _WORD.finditer(text):
        units += _unit(match)
        if units > _LONGEST:
            return min(match.start(), _LONGEST_CHARACTERS)
    return min(len(text), _LONGEST_CHARACTERS)


def _forced_cut(text: str, limit: int) -> int:
    """Return where to cut a text that has no end up to `limit`: behind a comma, else a space, else between words."""
    soft = [match for match in _SOFT_BOUNDARY.finditer(text, limit // 3, limit)]
    commas = [match.end() for match in soft if not match.group().isspace()]
    if commas or soft:
        return commas[-1] if commas else soft[-1].end()
    unbroken = _UNBROKEN.search(text, 0, limit)
    return unbroken.start() if unbroken and unbroken.start() > limit // 3 else limit


def _units(text: str) -> int:
    return sum(map(_unit, _WORD.finditer(re.sub(_CITATION, "", text))))


def _unit(match: re.Match[str]) -> int:
    return 1 if _is_east_asian(match.group()[0]) else 2


def _is_east_asian(character: str) -> bool:
    return re.match(rf"[{_EAST_ASIAN}\u3000-\u303f\uff00-\uffef]", character) is not None
