"""What the server remembers of each open page: its chats, and the reply that is being written.

Nothing here is shared between two sessions. A session ends when it has not been used for a while.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from elysia_chat.chains.language import Language
from elysia_chat.chains.prompt import Turn
from elysia_chat.ui.web.speech import SessionVoice, SpokenReply

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from elysia_chat.chains.conversation import Conversation
    from elysia_chat.chains.events import Timings
    from elysia_chat.ui.web.options import ReplyOptions

IDLE_SECONDS = 6 * 3600.0


@dataclass
class Answer:
    """One reply, finished or growing.

    Attributes:
        lore: whether the lore was searched.
        text: what has come so far.
        question: what the lore was searched with.
        passages: those of the prompt; None until they are known.
        cited: numbers of the passages that the reply names.
        done: whether the reply has ended.
    """

    lore: bool
    question: str
    text: str = ""
    passages: "tuple[Document, ...] | None" = None
    cited: tuple[int, ...] = ()
    timings: "Timings | None" = None
    stopped: bool = False
    truncated: bool = False
    done: bool = False


@dataclass
class Exchange:
    """A message and its answers: one, or two where both ways are compared."""

    question: str
    answers: list[Answer]

    def turn(self, lore: bool) -> Turn:
        """Return the exchange as the history of a conversation with or without lore."""
        fitting = next((answer for answer in self.answers if answer.lore == lore), self.answers[0])
        return Turn(self.question, fitting.text)


@dataclass
class Pending:
    """A message that is being answered.

    Attributes:
        persona: whom it was said to.
        position: number of the exchange that it becomes; later ones are dropped when it is answered.
        options: how to answer.
        answers: the growing replies.
        error: one line, where it failed.
        stop: set when the user wants no more of it.
        conversation: what is writing now.
        started: whether its turn in the queue has come.
        ended: whether nobody writes at it any more.
        dropped: whether the chat was cleared meanwhile.
        speech: the reply as it is spoken; None where speech is off.
    """

    question: str
    persona: str
    position: int
    options: "ReplyOptions"
    answers: list[Answer] = field(default_factory=list)
    error: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    conversation: "Conversation | None" = None
    started: bool = False
    ended: bool = False
    dropped: bool = False
    speech: SpokenReply | None = None


class Session:
    """One open page. Only one message is answered at a time.

    Args:
        language: of the interface.
        persona: whom the page talks with.
        speed: of its voice.
    """

    def __init__(self, language: Language, persona: str, speed: float = 1.0) -> None:
        self.voice = SessionVoice(speed)
        self.language = language
        self.persona = persona
        self.pending: Pending | None = None
        self.editing: int | None = None
        self.notice = ""
        self.closed = False
        self.used_at = time.monotonic()
        self._chats: dict[str, list[Exchange]] = {}
        self._lock = threading.Lock()

    @property
    def exchanges(self) -> list[Exchange]:
        """The chat with the present persona, oldest first."""
        return self.chat(self.persona)

    @property
    def visible_pending(self) -> Pending | None:
        """What is being answered, unless it was said to another persona."""
        pending = self.pending
        return pending if pending is not None and pending.persona == self.persona else None

    def chat(self, persona: str) -> list[Exchange]:
        """Return the chat with a persona."""
        return self._chats.setdefault(persona, [])

    def begin(self, question: str, options: "ReplyOptions", position: int | None = None) -> bool:
        """Take a message to be answered; False while another is being answered.

        Args:
            question: the message.
            options: how to answer.
            position: number of the exchange to replace; None appends.
        """
        with self._lock:
            if self.pending is not None:
                return False
            place = len(self.exchanges) if position is None else min(position, len(self.exchanges))
            self.pending = Pending(question, self.persona, place, options)
            self.notice, self.editing = "", None
            self.voice.stop()
            return True

    def start(self) -> Pending | None:
        """Return what is pending to whoever comes first to answer it; None to everybody else."""
        with self._lock:
            if self.pending is None or self.pending.started:
                return None
            self.pending.started = True
            return self.pending

    def finish(self) -> Pending | None:
        """Put the answered message into the chat; return what was pending."""
        with self._lock:
            pending, self.pending = self.pending, None
            if pending is None:
                return None
            answers = [answer for answer in pending.answers if answer.text.strip()]
            if answers and not pending.dropped:
                self.chat(pending.persona)[pending.position :] = [Exchange(pending.question, answers)]
            return pending

    def leave(self) -> None:
        """Stop, and settle what nobody is there to settle: the page is gone."""
        self.closed = True
        self.stop()
        pending = self.pending
        if pending is not None and not pending.started:
            self.finish()

    def stop(self) -> None:
        """End the reply that is being written, waiting to be, or still being spoken."""
        self.voice.stop()
        pending = self.pending
        if pending is not None:
            pending.stop.set()
            if pending.conversation is not None:
                pending.conversation.stop()

    def undo(self) -> Exchange | None:
        """Forget the last exchange and return it."""
        with self._lock:
            if self.pending is not None or not self.exchanges:
                return None
            self.editing, self.notice = None, ""
            return self.exchanges.pop()

    def clear(self) -> None:
        """Forget the chat with the present persona, and the reply that is being written."""
        self.stop()
        with self._lock:
            self._chats[self.persona] = []
            self.editing, self.notice = None, ""
            if self.pending is not None and self.pending.persona == self.persona:
                self.pending.dropped = True


class Sessions:
    """All open pages by key.

    Args:
        idle_seconds: a session that is not used for as long is forgotten.
        clock: seconds that never go back.
    """

    def __init__(self, idle_seconds: float = IDLE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()

    def get(self, key: str, make: Callable[[], Session]) -> Session:
        """Return the session of a key; an unknown one is made."""
        with self._lock:
            now = self._clock()
            self._forget_idle(now)
            session = self._sessions.get(key)
            if session is None:
                session = self._sessions[key] = make()
            session.used_at, session.closed = now, False
            return session

    def find(self, key: str) -> Session | None:
        """Return the session of a key, if there is one."""
        with self._lock:
            return self._sessions.get(key)

    def by_voice(self, token: str) -> Session | None:
        """Return the session whose voice has a token."""
        with self._lock:
            return next((item for item in self._sessions.values() if item.voice.token == token), None)

    def stop_all(self) -> None:
        """Stop what every session is doing."""
        with self._lock:
            sessions = list(self._sessions.values())
        for session in sessions:
            session.stop()

    def waiting(self) -> int:
        """Return how many messages wait for an answer or are being answered."""
        with self._lock:
            return sum(session.pending is not None for session in self._sessions.values())

    def __len__(self) -> int:
        return len(self._sessions)

    def _forget_idle(self, now: float) -> None:
        for key, session in list(self._sessions.items()):
            if session.pending is None and now - session.used_at > self._idle_seconds:
                del self._sessions[key]
