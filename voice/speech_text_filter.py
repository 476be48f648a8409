"""Takes out of a reply what goes over several sentences: code between fences, and long stage directions."""

import re

from elysia_chat.voice.speech_text_marks import is_stage_direction

_FENCE = "```"
_STAR_OPENS = re.compile(r"(?:^|[。！？…；♪～.!?~\n])\s*(\*)(?=[^\s*])[^*\n]*$")
_BRACKET_OPENS = re.compile(r"([（(])([^（）()\n]*)$")
_CLOSING = {"*": "*", "（": "）", "(": ")"}
# A direction that is not closed within so many sentences was none: nothing more is kept back.
_LONGEST_DIRECTION = 3


class ReplyFilter:
    """Remembers what an earlier sentence of the same reply has opened: one for each reply."""

    def __init__(self) -> None:
        self._closing = ""
        self._sentences_left = 0

    def feed(self, sentence: str) -> str:
        """Return what of the sentence may be said."""
        said, rest = "", sentence
        while rest:
            if self._closing:
                rest = self._skip(rest)
                continue
            before, fence, rest = rest.partition(_FENCE)
            said += before if fence else self._until_direction(before)
            if fence:
                self._closing = _FENCE
        return said

    def _skip(self, text: str) -> str:
        """Return what stands behind the closing mark; nothing where it is still to come."""
        marks = (self._closing,) if self._closing == _FENCE else (self._closing, "\n")
        found = [(text.find(mark), mark) for mark in marks if mark in text]
        if found:
            place, mark = min(found)
            self._closing = ""
            return text[place + len(mark) :]
        if self._closing != _FENCE:
            self._sentences_left -= 1
            if self._sentences_left == 0:
                self._closing = ""
        return ""

    def _until_direction(self, text: str) -> str:
        """Return the text without a stage direction that it begins and does not end."""
        unpaired = re.sub(r"\*\*+|\*[^*\n]+\*", lambda found: " " * len(found.group()), text)
        star, bracket = _STAR_OPENS.search(unpaired), _BRACKET_OPENS.search(text)
        if star is not None:
            return self._open("*", text[: star.start(1)])
        if bracket is not None and is_stage_direction(bracket.group(2)):
            return self._open(bracket.group(1), text[: bracket.start()])
        return text

    def _open(self, mark: str, said: str) -> str:
        self._closing, self._sentences_left = _CLOSING[mark], _LONGEST_DIRECTION - 1
        return said
