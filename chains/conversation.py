"""One person's conversation with one persona.

All state of a session is in its `Conversation`; nothing is shared with another but the model and the lore, which hold
no history. `stream` yields the events of `events.py`.
"""

import threading
import time
from collections.abc import Generator, Mapping
from typing import Any

from langchain_core.documents import Document

from elysia_chat.chains.events import Event, Finished, Retrieved, Searching, Sentence, Timings, Token, Usage
from elysia_chat.chains.language import Language, detect_language
from elysia_chat.chains.prompt import Turn, cited_numbers, clean_message
from elysia_chat.chains.qa import QuestionInput, RetrievalQAChain
from elysia_chat.chains.sentences import SentenceSplitter


class Conversation:
    """Remembers the turns and answers the next message.

    Args:
        chain: answers single questions.
        language: of the answers; None follows each message.
        max_message_chars: longer messages are refused.
    """

    def __init__(
        self, chain: RetrievalQAChain, language: Language | None = None, max_message_chars: int = 4000
    ) -> None:
        self.chain = chain
        self.turns: list[Turn] = []
        self._language = language
        self._max_message_chars = max_message_chars
        self._answering = threading.Lock()
        self._stopped = threading.Event()

    def stream(self, text: str, sampling: Mapping[str, Any] | None = None) -> Generator[Event, None, None]:
        """Answer a message; closing the iterator or `stop` from another thread ends the computation.

        The turn is remembered when the reply ends, also when it was stopped after its first words. A reply that fails
        leaves the conversation as it was.

        Args:
            text: the message.
            sampling: overrides of the model's sampling for this reply.

        Raises:
            MessageError: the message is empty or too long.
        """
        question = clean_message(text, self._max_message_chars)
        with self._answering:
            self._stopped.clear()
            yield from self._reply(question, sampling or {})

    def stop(self) -> None:
        """End the reply that is being written; what has come so far stays. Safe from any thread."""
        self._stopped.set()

    def undo(self) -> Turn | None:
        """Forget the last turn and return it."""
        with self._answering:
            return self.turns.pop() if self.turns else None

    def rewind(self, turns: int) -> None:
        """Forget everything after the first `turns` turns."""
        with self._answering:
            del self.turns[turns:]

    def reset(self) -> None:
        """Forget everything."""
        self.rewind(0)

    def _reply(self, question: str, sampling: Mapping[str, Any]) -> Generator[Event, None, None]:
        clock = _Clock()
        splitter, answer = SentenceSplitter(), ""
        passages: tuple[Document, ...] = ()
        usage, finish_reason = Usage(), ""
        language = self._language or self._follow_language(question)
        asked: QuestionInput = {"question": question, "history": tuple(self.turns), "language": language}
        pieces = self.chain.stream(asked, **sampling)
        try:
            for piece in pieces:
                if "search_question" in piece and piece["search_question"] != question:
                    yield Searching(piece["search_question"])
                if "source_documents" in piece and self.chain.retriever is not None:
                    clock.retrieved()
                    passages = tuple(piece["source_documents"])
                    yield Retrieved(passages)
                if "answer" in piece:
                    clock.token()
                    answer += piece["answer"]
                    yield Token(piece["answer"])
                    yield from map(Sentence, splitter.feed(piece["answer"]))
                if "usage" in piece:
                    usage, finish_reason = Usage(**piece["usage"]), piece["finish_reason"]
                if self._stopped.is_set():
                    break
            yield from map(Sentence, splitter.close())
        finally:
            pieces.close()
            if answer.strip():
                self.turns.append(Turn(question, answer))
        cited = tuple(number for number in cited_numbers(answer) if number <= len(passages))
        yield Finished(
            answer=answer,
            passages=passages,
            cited=cited,
            usage=usage,
            timings=clock.timings(),
            stopped=self._stopped.is_set(),
            truncated=finish_reason == "length",
        )

    def _follow_language(self, question: str) -> Language:
        """The message's language; one without words (“?”) goes on in the language of the turn before."""
        before: Language = detect_language(self.turns[-1].question) if self.turns else "zh"
        return detect_language(question, default=before)


class _Clock:
    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._retrieval_s: float | None = None
        self._first_token_s: float | None = None

    def retrieved(self) -> None:
        self._retrieval_s = self._elapsed()

    def token(self) -> None:
        if self._first_token_s is None:
            self._first_token_s = self._elapsed()

    def timings(self) -> Timings:
        return Timings(self._retrieval_s, self._first_token_s, self._elapsed())

    def _elapsed(self) -> float:
        return time.perf_counter() - self._start
