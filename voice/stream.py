"""A reply is spoken while it is being written: sentences go in, sounds come out in their order.

All speech of a process is computed by one thread, which leaves the other cores to the language model. Replies of
several sessions take turns, sentence by sentence.
"""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from elysia_chat.voice.speaker import Speaker, SpokenSentence
from elysia_chat.voice.speech_text_filter import ReplyFilter
from elysia_chat.voice.speech_text_scripts import main_language


class SpeechWorker:
    """The thread that computes speech, one sentence at a time, the waiting streams in turn."""

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="speech")
        self._lock = threading.Lock()
        self._turns: deque[SpeechStream] = deque()

    def submit(self, stream: "SpeechStream") -> None:
        """Give a stream one more turn."""
        with self._lock:
            if stream not in self._turns:
                self._turns.append(stream)
        self._executor.submit(self._take_turn)

    def close(self) -> None:
        """End the thread; sentences that still wait are dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _take_turn(self) -> None:
        """Compute one sentence of the stream whose turn it is; streams without any leave the line."""
        while True:
            with self._lock:
                if not self._turns:
                    return
                stream = self._turns.popleft()
            if stream.has_waiting:
                break
        stream.compute_next()
        with self._lock:
            if stream.has_waiting and stream not in self._turns:
                self._turns.append(stream)


class SpeechStream:
    """The speech of one reply.

    Feed sentences as they are written and call `finish` at the end; iterate, in the same thread or another, over what
    has been spoken, or ask `ready` now and then. `cancel` ends it at once.

    Args:
        speaker: says the sentences.
        worker: computes them; shared by all streams of a process.
    """

    def __init__(self, speaker: Speaker, worker: SpeechWorker) -> None:
        self._speaker = speaker
        self._worker = worker
        self._filter = ReplyFilter()
        self._language = speaker.default_language
        self._waiting: deque[str] = deque()
        self._spoken: deque[SpokenSentence] = deque()
        self._told: set[str] = set()
        self._computing = False
        self._finished = False
        self._cancelled = False
        self._failure: BaseException | None = None
        self._changed = threading.Condition()

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._cancelled

    def feed(self, sentence: str) -> None:
        """Add the next sentence of the reply; it is computed in the background. None is taken after the end."""
        with self._changed:
            if self._finished or self._cancelled:
                return
            self._waiting.append(sentence)
        self._worker.submit(self)

    def finish(self) -> None:
        """Say that no more sentences come."""
        with self._changed:
            self._finished = True
            self._changed.notify_all()

    def cancel(self) -> None:
        """End at once: nothing more is computed, and iterating ends; what is being computed is thrown away."""
        with self._changed:
            self._cancelled = True
            self._waiting.clear()
            self._spoken.clear()
            self._changed.notify_all()

    def ready(self) -> list[SpokenSentence]:
        """Return what has been spoken since the last call, without waiting."""
        with self._changed:
            self._raise_failure()
            spoken = list(self._spoken)
            self._spoken.clear()
            return spoken

    @property
    def done(self) -> bool:
        """Whether everything has been spoken and taken, or the stream was cancelled."""
        with self._changed:
            return self._cancelled or (self._finished and not self._pending())

    def __iter__(self) -> Iterator[SpokenSentence]:
        """Yield what has been spoken in its order, waiting for more until the reply has ended."""
        while True:
            with self._changed:
                self._changed.wait_for(self._has_news)
                self._raise_failure()
                if not self._spoken:
                    return
                spoken = self._spoken.popleft()
            yield spoken

    @property
    def has_waiting(self) -> bool:
        """Whether there are sentences to compute."""
        with self._changed:
            return bool(self._waiting)

    def compute_next(self) -> None:
        """Speak the next sentence that waits; the worker calls this in its thread."""
        with self._changed:
            if not self._waiting:
                return
            sentence = self._waiting.popleft()
            self._computing = True
        spoken: SpokenSentence | None = None
        try:
            spoken = self._speak(sentence)
        finally:
            # What nobody foresaw is raised where the stream is read, not lost in the worker's thread.
            with self._changed:
                self._computing = False
                if spoken is None:
                    self._failure = sys.exc_info()[1]
                elif not self._cancelled:
                    self._spoken.append(spoken)
                self._changed.notify_all()

    def _speak(self, sentence: str) -> SpokenSentence:
        text = self._filter.feed(sentence)
        self._language = main_language(text) or self._language
        spoken = self._speaker.utter(text, self._language)
        problem = spoken.problem
        if problem is not None and str(problem) in self._told:
            problem = None
        elif problem is not None:
            self._told.add(str(problem))
        return SpokenSentence(sentence, spoken.audio, problem)

    def _pending(self) -> bool:
        return bool(self._waiting or self._spoken or self._computing)

    def _has_news(self) -> bool:
        ended = self._finished and not self._waiting and not self._computing
        return bool(self._spoken) or self._cancelled or self._failure is not None or ended

    def _raise_failure(self) -> None:
        if self._failure is not None and not self._cancelled:
            raise self._failure
