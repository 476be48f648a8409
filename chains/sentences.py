"""Cuts a stream of tokens into sentences as soon as each is certain.

Chinese sentences end with their punctuation at once; an English full stop ends one only when white space follows, and
not after an abbreviation or an initial. Closing quotes and brackets, further end marks and citation numbers stay with
their sentence. Nothing is lost: the sentences joined are the text.
"""

import re
from collections.abc import Iterator

_WIDE_END = "。！？…；♪～"
_CLOSING = "”’」』）)】〉》\"'"
_ABBREVIATION = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|vs|etc|e\.g|i\.e|No|[A-Z])\.$")
_UNDECIDED = re.compile(r"\s?(?:\[\d{0,2})?")
_TAIL = re.compile(rf"(?:[{re.escape(_WIDE_END + _CLOSING)}.!?]|\s?\[\d{{1,2}}\])*")
_END = re.compile(rf"[{re.escape(_WIDE_END)}]|[.!?](?=[\s{re.escape(_CLOSING)}]|$)|\n")


class SentenceSplitter:
    """Takes tokens, gives sentences: `feed` while the text grows, `close` at its end."""

    def __init__(self) -> None:
        self._buffer = ""

    def feed(self, text: str) -> Iterator[str]:
        """Add text and yield the sentences that are now certain to be complete."""
        self._buffer += text
        while (cut := self._cut()) is not None:
            sentence, self._buffer = self._buffer[:cut], self._buffer[cut:]
            if sentence.strip():
                yield sentence

    def close(self) -> Iterator[str]:
        """Yield what is left."""
        rest, self._buffer = self._buffer, ""
        if rest.strip():
            yield rest

    def _cut(self) -> int | None:
        for match in _END.finditer(self._buffer):
            head = self._buffer[: match.end()]
            if match.group() == "." and _ABBREVIATION.search(head):
                continue
            tail = _TAIL.match(self._buffer, match.end())
            end = tail.end() if tail else match.end()
            following = self._buffer[end:]
            # What stands at the very end may go on: "。" by "”", "." by "5" or "..", a space by a citation.
            if _UNDECIDED.fullmatch(following):
                return None
            return end
        return None
