"""Computations one after the other, first come first served, for callers in threads and in event loops.

A model computes in threads of its own, mostly one. Requests wait in line; a caller who leaves (closes its stream, is
cancelled, sets its event) is taken out of the line, or its computation ends before the next step.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Generic, TypeVar

from elysia_chat.llm.errors import GenerationCancelledError, ModelBusyError

Item = TypeVar("Item")
Stopped = Callable[[], bool]
"""Tells whether the caller has left."""
Work = Callable[[Stopped], Iterator[Item]]
"""Makes the items; ends soon after the caller has left."""

_POLL_S = 0.05


def never() -> bool:
    """Be a caller who never leaves."""
    return False


class _End:
    """Marks the end of a stream."""


_END = _End()


class GenerationQueue(Generic[Item]):
    """Runs pieces of work in the order in which they come, in threads of its own.

    Args:
        name: of the threads.
        prepare: called once in each of them before its first work.
        threads: pieces of work at once.
        longest: line of those that wait; None: without limit.
    """

    def __init__(
        self, name: str, prepare: Callable[[], None] | None = None, threads: int = 1, longest: int | None = None
    ) -> None:
        self._closed = threading.Event()
        self._threads, self._longest = threads, longest
        self._taken = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix=name, initializer=prepare or _nothing)

    def stream(self, work: Work[Item], cancelled: threading.Event | None = None) -> Generator[Item, None, None]:
        """Yield what `work` makes. Closing the iterator returns when the computation has ended.

        Args:
            work: runs in a thread of the queue.
            cancelled: set by anybody to end the wait or the computation.

        Raises:
            GenerationCancelledError: `cancelled` was set.
            ModelBusyError: the line is as long as it may be.
        """
        items: queue.SimpleQueue[Item | _End] = queue.SimpleQueue()
        left = threading.Event()
        future = self._submit(work, _stopped_by(left, self._closed, cancelled), items.put)
        try:
            while not isinstance(item := _next_item(items, cancelled), _End):
                yield item
            future.result()
            _raise_if(cancelled)
        finally:
            left.set()
            if not future.cancel():
                wait([future])

    async def astream(self, work: Work[Item], cancelled: threading.Event | None = None) -> AsyncGenerator[Item, None]:
        """Do what `stream` does without holding up the event loop; cancelling the task counts as leaving."""
        loop = asyncio.get_running_loop()
        items: asyncio.Queue[Item | _End] = asyncio.Queue()
        left = threading.Event()

        def put(item: Item | _End) -> None:
            try:
                loop.call_soon_threadsafe(items.put_nowait, item)
            except RuntimeError:  # the loop is closed: nobody listens any more
                left.set()

        future = self._submit(work, _stopped_by(left, self._closed, cancelled), put)
        try:
            while not isinstance(item := await _next_async(items, cancelled), _End):
                yield item
            future.result()
            _raise_if(cancelled)
        finally:
            left.set()
            if not future.cancel():
                await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)

    @property
    def waiting(self) -> int:
        """How many pieces of work wait for a thread."""
        return max(0, self._taken - self._threads)

    def close(self) -> None:
        """End the threads and what they compute; work that still waits is dropped."""
        self._closed.set()
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _submit(self, work: Work[Item], stopped: Stopped, put: Callable[[Item | _End], None]) -> Future[None]:
        def run() -> None:
            for item in work(stopped):
                put(item)
                if stopped():
                    break

        self._join_line()
        try:
            future = self._executor.submit(run)
        except RuntimeError:
            self._leave_line()
            raise
        future.add_done_callback(lambda _future: self._leave_line())
        future.add_done_callback(lambda _future: put(_END))
        return future

    def _join_line(self) -> None:
        with self._lock:
            if self._longest is not None and self._taken >= self._threads + self._longest:
                msg = f"The model is busy: {self.waiting} are waiting. Try again in a moment."
                raise ModelBusyError(msg)
            self._taken += 1

    def _leave_line(self) -> None:
        with self._lock:
            self._taken -= 1


def _nothing() -> None:
    pass


def _stopped_by(*events: threading.Event | None) -> Stopped:
    return lambda: any(event is not None and event.is_set() for event in events)


def _next_item(items: "queue.SimpleQueue[Item | _End]", cancelled: threading.Event | None) -> Item | _End:
    if cancelled is None:
        return items.get()
    while True:
        _raise_if(cancelled)
        try:
            return items.get(timeout=_POLL_S)
        except queue.Empty:
            continue


async def _next_async(items: "asyncio.Queue[Item | _End]", cancelled: threading.Event | None) -> Item | _End:
    if cancelled is None:
        return await items.get()
    while True:
        _raise_if(cancelled)
        try:
            return await asyncio.wait_for(items.get(), _POLL_S)
        except TimeoutError:
            continue


def _raise_if(cancelled: threading.Event | None) -> None:
    if cancelled is not None and cancelled.is_set():
        msg = "The reply was cancelled."
        raise GenerationCancelledError(msg)
