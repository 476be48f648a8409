"""The sentences of a passage, and a passage of which only some are kept."""

import re
from collections.abc import Collection, Sequence

LEFT_OUT = "…"
_ABBREVIATIONS = "".join(rf"(?<!\b{word})" for word in ("Mr", "Ms", "Mrs", "Dr", "St", "vs", "No"))
_SENTENCE = re.compile(
    rf".*?(?:[。！？!?…；;]+|(?<!\b[A-Z]){_ABBREVIATIONS}\.(?=\s|$|[\"”’)*]))[\"”’」』）)\]*]*\s*|.+$"
)
_FEWEST_CHARS = 5
# A sentence of fewer bytes (12 Chinese characters, 36 Latin ones) mostly needs the one before it to be understood.
_FEWEST_BYTES = 36
_LATIN_END = re.compile(r"[\x00-\x7f”’]$")


def sentences(text: str) -> list[str]:
    """Cut a text at line breaks and after sentences; blanks around the pieces are left out.

    Pieces of fewer than five characters stay with the sentence before them.
    """
    return [sentence for line in _lines(text) for sentence in line]


def with_context(parts: Sequence[str], kept: Collection[int]) -> set[int]:
    """Return the numbers of some sentences, and of those before the very short ones among them."""
    short = {number - 1 for number in kept if number and len(parts[number].encode()) < _FEWEST_BYTES}
    return {*kept, *short}


def keep_sentences(text: str, kept: Collection[int]) -> str:
    """Return a text with only some of its sentences, and an ellipsis for what is left out between and around them.

    Args:
        text: the whole text.
        kept: numbers of the sentences that stay, as `sentences` has them, from 0.
    """
    number, lines, gap = 0, [], False
    for line in _lines(text):
        words = ""
        for sentence in line:
            if number in kept:
                words = _joined(words, f"{LEFT_OUT}{sentence}" if gap else sentence)
                gap = False
            else:
                gap = True
            number += 1
        if words:
            lines.append(words)
    if gap and lines:
        lines[-1] += LEFT_OUT
    return "\n".join(lines)


def _lines(text: str) -> list[list[str]]:
    found = []
    for line in text.splitlines():
        pieces: list[str] = []
        for match in _SENTENCE.finditer(line.strip()):
            piece = match.group().strip()
            if pieces and 0 < len(piece) < _FEWEST_CHARS:
                pieces[-1] = _joined(pieces[-1], piece)
            elif piece:
                pieces.append(piece)
        if pieces:
            found.append(pieces)
    return found


def _joined(first: str, second: str) -> str:
    return f"{first} {second}" if first and _LATIN_END.search(first) else first + second
