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
        self._waiting = 0

    def push(self, token: int) -> str:
        """Take one more token and return the text that is complete with it, maybe none."""
        self._tokens.append(token)
        before = self._decode(self._tokens[self._context : self._shown])
        now = self._decode(self._tokens[self._context :])
        self._waiting = self._waiting + 1 if now.endswith(_REPLACEMENT) else 0
        if 0 < self._waiting < _LONGEST_CHARACTER or len(now) <= len(before):
            return ""
        self._waiting = 0
        self._context, self._shown = self._shown, len(self._tokens)
        return now[len(before) :]
