"""Stop strings in a text that comes piece by piece."""

from collections.abc import Sequence


class StopStrings:
    """Passes text on until a stop string comes; neither it nor a part of it is ever passed on.

    The end of the text is held back as long as a stop string may be beginning there.

    Attributes:
        met: whether a stop string has come; the text is over then.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.met = False

    def push(self, text: str) -> str:
        """Take more text and return what can be shown now."""
        if self.met:
            return ""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            self.met = True
            shown, self._held = self._held[: min(found)], ""
            return shown
        keep = self._beginning_at_end()
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown

    def flush(self) -> str:
        """Return what was held back: the text is over and no stop string came of it."""
        shown, self._held = self._held, ""
        return shown

    def _beginning_at_end(self) -> int:
        """Return the length of the longest end of the text that a stop string begins with."""
        longest = max((len(stop) for stop in self._stops), default=1) - 1
        for length in range(min(longest, len(self._held)), 0, -1):
            if any(stop.startswith(self._held[-length:]) for stop in self._stops):
                return length
        return 0
