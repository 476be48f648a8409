"""Lines from the user: edited with readline in a terminal, read as they are from a pipe."""

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

_PROMPT = "> "


class LineInput:
    """Reads messages.

    Args:
        commands: words that Tab completes at the beginning of a line.
        interactive: whether a person types; a pipe gets no prompt.
    """

    def __init__(self, commands: Sequence[str], *, interactive: bool) -> None:
        self.interactive = interactive
        self._commands = tuple(commands)
        self._interrupted = False
        if interactive:
            self._set_up_editing()

    def read(self, notes: "Console") -> str | None:
        """Return the next line without blanks around it; None when the input ends.

        Ctrl-C discards what has been typed; a second one in a row ends the input.
        """
        if not self.interactive:
            line = sys.stdin.readline()
            return line.strip() if line else None
        try:
            line = input(_PROMPT).strip()
        except EOFError:
            notes.print()
            return None
        except KeyboardInterrupt:
            notes.print()
            if self._interrupted:
                return None
            self._interrupted = True
            notes.print("Ctrl-C once more, Ctrl-D or /exit leaves.", style="dim")
            return ""
        self._interrupted = False
        return line

    def _set_up_editing(self) -> None:
        """Give `input` line editing that knows wide characters, a history and completion, where the system has it."""
        try:
            import readline
        except ImportError:  # Windows: its console edits lines itself
            return
        readline.set_completer_delims("")
        readline.set_completer(self._complete)
        readline.parse_and_bind("tab: complete")

    def _complete(self, text: str, state: int) -> str | None:
        matching = [name for name in self._commands if text.startswith("/") and name.startswith(text)]
        return matching[state] if state < len(matching) else None
