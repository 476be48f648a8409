"""Blocking work for an event loop: so much at once, so much waiting, and ended when nobody wants it any more."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from elysia_chat.ui.api.errors import QueueFullError

Item = TypeVar("Item")
_RETRY_SECONDS = 5


@dataclass(frozen=True, eq=False)
class Job(Generic[Item]):
    """Work that yields items in a thread.

    Attributes:
        run: makes the items, and is closed when nobody wants more; called in the thread.
        cancelled: set when nobody wants more.
        cancel: called then as well, from the event loop: wakes what the work waits for.
    """

    run: Callable[[], Generator[Item, None, None]]
    cancelled: threading.Event = field(default_factory=threading.Event)
    cancel: Callable[[], None] = lambda: None


class _End:
    """Marks the end of a job."""


_END = _End()


class Workers:
    """Threads for one kind of work, and the line before them. Used from one event loop.

    Args:
        name: of the threads.
        running: jobs at once.
        waiting: jobs that may wait; more are refused.
    """

    def __init__(self, name: str, running: int, waiting: int) -> None:
        self._executor = ThreadPoolExecutor(running, thread_name_prefix=name)
        self._places = asyncio.Semaphore(running)
        self._longest_line = waiting
        self._jobs: set[Job[Any]] = set()
        self._running = 0
        self._waiting = 0

    def count_running(self) -> int:
        """Return how many jobs are being computed."""
        return self._running

    def count_waiting(self) -> int:
        """Return how many jobs wait for their turn."""
        return self._waiting

    @asynccontextmanager
    async def items(self, job: Job[Item]) -> AsyncGenerator[AsyncGenerator[Item, None], None]:
        """Give a job's items as they come, once its turn has come; leaving the context ends the job.

        Its place is free again when its thread has really ended.

        Raises:
            QueueFullError: too many wait already.
        """
        await self._enter()
        queue: asyncio.Queue[Item | _End] = asyncio.Queue()
        future = self._start(job, queue)
        items = _items(queue, future)
        try:
            yield items
        finally:
            job.cancelled.set()
            job.cancel()
            future.cancel()
            await items.aclose()

    async def call(self, function: Callable[[], Item]) -> Item:
        """Return what a function returns in a thread, once its turn has come.

        Raises:
            QueueFullError: too many wait already.
        """

        def run() -> Generator[Item, None, None]:
            yield function()

        async with self.items(Job(run)) as items:
            return await anext(items)

    def close(self) -> None:
        """End all jobs, and the threads as soon as these have ended."""
        for job in list(self._jobs):
            job.cancelled.set()
            job.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)

    async def _enter(self) -> None:
        if self._places.locked() and self._waiting >= self._longest_line:
            msg = f"{self._waiting} requests wait already, and no more are taken: try again in some seconds."
            raise QueueFullError(msg, retry_after=_RETRY_SECONDS)
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        self._running += 1

    def _start(self, job: Job[Item], queue: "asyncio.Queue[Item | _End]") -> Future[None]:
        loop = asyncio.get_running_loop()

        def tell(call: Callable[..., None], *arguments: object) -> None:
            # A closed loop: the server has ended, and nobody listens any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(call, *arguments)

        def work() -> None:
            items = job.run()
            try:
                for item in items:
                    tell(queue.put_nowait, item)
                    if job.cancelled.is_set():
                        break
            finally:
                items.close()

        def leave() -> None:
            self._jobs.discard(job)
            self._running -= 1
            self._places.release()

        def end(_future: Future[None]) -> None:
            tell(queue.put_nowait, _END)
            tell(leave)

        self._jobs.add(job)
        future = self._executor.submit(work)
        future.add_done_callback(end)
        return future


async def _items(queue: "asyncio.Queue[Item | _End]", future: Future[None]) -> AsyncGenerator[Item, None]:
    while not isinstance(item := await queue.get(), _End):
        yield item
    future.result()
