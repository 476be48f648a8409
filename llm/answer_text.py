"""The text of an answer as its tokens come: whole characters, up to a stop string, an end token or the last token."""

from collections.abc import Sequence
from typing import Any

from elysia_chat.llm.answer_engine import FinishReason
from elysia_chat.llm.detokenizer import IncrementalDetokenizer
from elysia_chat.llm.stop_strings import StopStrings


class AnswerText:
    """Turns the tokens of one answer into what is shown.

    Args:
        tokenizer: of transformers.
        end_tokens: that end the answer and are not shown.
        stop: strings that end the answer and are not shown.
        room: most tokens.

    Attributes:
        tokens: those taken so far.
        finish_reason: why the answer is over; None as long as it is not.
    """

    def __init__(self, tokenizer: Any, end_tokens: frozenset[int], stop: Sequence[str], room: int) -> None:
        self.tokens: list[int] = []
        self.finish_reason: FinishReason | None = None
        self._tokenizer = tokenizer
        self._end_tokens = end_tokens
        self._room = room
        self._stops = StopStrings(stop)
        self._characters = IncrementalDetokenizer(self._decode)

    def push(self, *tokens: int) -> str:
        """Take the next tokens and return what can be shown now; those after the end are not taken."""
        spoken: list[int] = []
        for token in tokens:
            if self.finish_reason is not None:
                break
            self.tokens.append(token)
            if token in self._end_tokens:
                self.finish_reason = "stop"
                break
            spoken.append(token)
            if len(self.tokens) == self._room:
                self.finish_reason = "length"
        shown = self._stops.push(self._characters.push(*spoken)) if spoken else ""
        if self._stops.met:
            self.finish_reason = "stop"
        return shown

    def flush(self) -> str:
        """Return what was held back, since a stop string might have begun there."""
        return self._stops.flush()

    def _decode(self, tokens: Sequence[int]) -> str:
        decoded = self._tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return str(decoded)
