"""A conversation in the terminal: reads lines, streams replies, obeys commands that begin with '/'."""

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.cli.line_input import LineInput
from elysia_chat.ui.cli.preparation import prepare
from elysia_chat.ui.cli.replies import play, reply_data, show_sources
from elysia_chat.ui.cli.run import Run, error_data
from elysia_chat.ui.cli.spoken import ReplySpeech
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from elysia_chat.chains.conversation import Conversation
    from elysia_chat.chains.events import Event
    from elysia_chat.kb.card import LocalizedCard
    from elysia_chat.kb.personas import Persona


class TerminalChat:
    """One session.

    Args:
        run: settings, services and consoles.
        persona: with whom; the settings decide where it is None.
        rag: whether the lore is searched; the settings decide where it is None.
        speak: whether the replies are heard.
    """

    def __init__(self, run: Run, persona: str | None, rag: bool | None, *, speak: bool = False) -> None:
        self._run = run
        self._rag = run.settings.chat.rag if rag is None else rag
        self._turns: list[dict[str, Any]] = []
        self._commands: dict[str, tuple[str, Callable[[str], None]]] = {
            "/sources": ("the passages that the last answer stands on", self._show_sources),
            "/history": ("the conversation so far", self._show_history),
            "/undo": ("forget the last question and its answer", self._undo),
            "/reset": ("begin anew", self._reset),
            "/persona": ("whom you talk with; /persona NAME begins a conversation with another", self._change_persona),
            "/help": ("this list", self._help),
            "/exit": ("leave (also Ctrl-D)", self._exit),
        }
        self._input = LineInput(tuple(self._commands), interactive=sys.stdin.isatty())
        self._left = False
        self._speech = ReplySpeech(run.services.speech, run.note) if speak else None
        self._persona, self._conversation = self._meet(persona)

    def go(self) -> dict[str, Any]:
        """Talk until the input ends or the user leaves, and return the conversation."""
        self._greet()
        try:
            self._talk()
            if self._speech is not None and not self._left:
                self._speech.wait()
        finally:
            if self._speech is not None:
                self._speech.stop()
        return {"persona": self._persona.name, "rag": self._rag, "turns": self._turns}

    def _talk(self) -> None:
        while not self._left and (line := self._input.read(self._run.err)) is not None:
            try:
                self._take(line)
            except KeyboardInterrupt:
                # A Ctrl-C that was meant for the reply and came just after it.
                if not self._input.interactive:
                    raise

    def _take(self, line: str) -> None:
        if line.startswith("/"):
            self._obey(line)
        elif line:
            self._answer(line)

    def _meet(self, name: str | None) -> "tuple[Persona, Conversation]":
        persona = self._run.services.persona(name)
        prepare(self._run, persona.name, rag=self._rag)
        return persona, self._run.services.conversation(persona.name, rag=self._rag)

    def _greet(self) -> None:
        if self._input.interactive:
            self._run.out.print(printable(f"{self._name}: {self._localized.greeting}"))
            self._run.note("/help lists the commands, Ctrl-C stops a reply, /exit leaves.")

    def _answer(self, message: str) -> None:
        before = len(self._conversation.turns)
        try:
            with _stoppable(self._conversation):
                speaker = self._name if self._input.interactive else ""
                finished = play(self._run, self._events(message), speaker)
        except ElysiaChatError as error:
            self._fail(message, error)
        except KeyboardInterrupt:
            self._run.note("Broken off.")
            if len(self._conversation.turns) > before:
                self._turns.append(
                    {"question": message, "answer": self._conversation.turns[-1].answer, "stopped": True}
                )
        else:
            self._turns.append({"question": message, **reply_data(finished)})

    def _events(self, message: str) -> "Iterator[Event]":
        """The reply's events; with speech, what was still heard of the one before is cut, or heard out for a script."""
        events = self._conversation.stream(message)
        if self._speech is None:
            return events
        if not self._input.interactive:
            self._speech.wait()
        try:
            speaker = self._run.services.speaker(self._persona.name)
        except ElysiaChatError as error:
            self._speech.give_up(error)
            return events
        return self._speech.listen(events, speaker)

    def _fail(self, message: str, error: ElysiaChatError) -> None:
        """Tell of a failed reply and go on: the next one may succeed."""
        self._run.explain(error)
        self._turns.append({"question": message, "error": error_data(error)})
        if not self._input.interactive:
            self._run.exit_code = 1

    def _obey(self, line: str) -> None:
        name, _, argument = line.partition(" ")
        known = self._commands.get({"/quit": "/exit", "/q": "/exit", "/?": "/help"}.get(name, name))
        if known is None:
            self._run.note(f"There is no command {name}; known: {' '.join(self._commands)}.")
            return
        try:
            known[1](argument.strip())
        except ElysiaChatError as error:
            self._run.explain(error)

    def _show_sources(self, _: str) -> None:
        last = self._turns[-1] if self._turns else {}
        if not last.get("sources"):
            self._run.note("The last answer stands on no passages." if last else "Nothing has been answered yet.")
        show_sources(self._run, last.get("sources", ()), whole=True)

    def _show_history(self, _: str) -> None:
        if not self._conversation.turns:
            self._run.note("Nothing has been said yet.")
        for turn in self._conversation.turns:
            self._run.out.print(printable(f"> {turn.question}"), style="dim")
            self._run.out.print(printable(f"{self._name}: {turn.answer}"))

    def _undo(self, _: str) -> None:
        turn = self._conversation.undo()
        if turn is not None:
            del self._turns[max(number for number, shown in enumerate(self._turns) if "error" not in shown) :]
        self._run.note(f"Forgotten: {turn.question}" if turn else "Nothing has been said yet.")

    def _reset(self, _: str) -> None:
        self._conversation.reset()
        self._turns.clear()
        self._run.note("The conversation begins anew.")

    def _change_persona(self, name: str) -> None:
        if name:
            self._persona, self._conversation = self._meet(name)
            self._turns.clear()
            self._greet()
        else:
            names = ", ".join(self._run.services.persona_names())
            self._run.note(f"You talk with {self._persona.name}; there are: {names}.")

    def _help(self, _: str) -> None:
        for name, (what, _function) in self._commands.items():
            self._run.out.print(f"{name:10} {what}")

    def _exit(self, _: str) -> None:
        self._left = True

    @property
    def _name(self) -> str:
        return self._localized.name

    @property
    def _localized(self) -> "LocalizedCard":
        return self._persona.card.localized(self._run.interface_language)


@contextmanager
def _stoppable(conversation: "Conversation") -> Iterator[None]:
    """Let the first Ctrl-C end the reply after its present token; a second one breaks it off at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(_signal: int, _frame: FrameType | None) -> None:
        conversation.stop()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
