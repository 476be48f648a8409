"""Token ids to text, as they come."""

from collections.abc import Callable, Sequence

# UTF-8 characters have at most four bytes, so at most four byte tokens wait for each other.
_LONGEST_CHARACTER = 4
_REPLACEMENT = "\ufffd"


class IncrementalDetokenizer:
    """Gives the text of a growing sequence of tokens, whole characters only.

    Each piece is the difference of two decodings that begin at the same earlier token, since tokenizers treat the
    first token of a text in a special way (a leading space goes, for one).

    Args:
        decode: text of a sequence of token ids.
    """

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._tokens: list[int] = []
        self._context = 0
        self._shown = 0

    def push(self, *tokens: int) -> str:
        """Take the next tokens and return the text that is complete with them, maybe none."""
        self._tokens.extend(tokens)
        before = self._decode(self._tokens[self._context : self._shown])
        end, now = self._complete()
        if len(now) <= len(before):
            return ""
        self._context, self._shown = self._shown, end
        return now[len(before) :]

    def _complete(self) -> tuple[int, str]:
        """Return up to which token there are whole characters only, and the text from the context to there."""
        length = len(self._tokens)
        for end in range(length, max(self._shown, length - _LONGEST_CHARACTER), -1):
            now = self._decode(self._tokens[self._context : end])
            if not now.endswith(_REPLACEMENT):
                return end, now
        # So many bytes that make no character make none any more.
        broken = length - self._shown >= _LONGEST_CHARACTER
        return length, self._decode(self._tokens[self._context :]) if broken else ""
