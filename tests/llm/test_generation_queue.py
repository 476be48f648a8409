"""The line before a model: order, leaving, errors, event loops."""

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from elysia_chat.llm.errors import GenerationCancelledError, ModelBusyError
from elysia_chat.llm.generation_queue import GenerationQueue, Stopped


@pytest.fixture
def line() -> Iterator[GenerationQueue[int]]:
    made: GenerationQueue[int] = GenerationQueue("test")
    yield made
    made.close()


class Counter:
    """Work that counts its steps; every step waits until it may go on."""

    def __init__(self, steps: int = 1000) -> None:
        self.steps = steps
        self.done = 0
        self.go = threading.Semaphore(0)
        self.began = threading.Event()

    def __call__(self, stopped: Stopped) -> Iterator[int]:
        self.began.set()
        for number in range(self.steps):
            while not self.go.acquire(timeout=0.01):
                if stopped():
                    return
            if stopped():
                return
            self.done += 1
            yield number


def free(steps: int) -> Counter:
    work = Counter(steps)
    work.go.release(steps)
    return work


def test_items_come_in_order(line: GenerationQueue[int]):
    assert list(line.stream(free(5))) == [0, 1, 2, 3, 4]


def test_all_work_runs_in_one_thread_that_was_prepared():
    prepared: list[str] = []
    line: GenerationQueue[str] = GenerationQueue("model", lambda: prepared.append(threading.current_thread().name))
    names = [next(line.stream(lambda _stopped: iter([threading.current_thread().name]))) for _ in range(3)]
    line.close()
    assert names == prepared * 3
    assert prepared[0].startswith("model")


def test_requests_are_served_in_the_order_of_their_coming(line: GenerationQueue[int]):
    first, served = Counter(1), []
    threads = [threading.Thread(target=lambda: list(line.stream(first)))]
    threads[0].start()
    first.began.wait()
    for number in range(8):

        def work(_stopped: Stopped, number: int = number) -> Iterator[int]:
            served.append(number)
            yield number

        threads.append(threading.Thread(target=lambda work=work: list(line.stream(work))))
        threads[-1].start()
        time.sleep(0.02)
    first.go.release()
    for thread in threads:
        thread.join()
    assert served == list(range(8))


def test_closing_ends_the_computation_before_close_returns(line: GenerationQueue[int]):
    work = Counter()
    work.go.release(3)
    stream = line.stream(work)
    assert [next(stream) for _ in range(3)] == [0, 1, 2]
    stream.close()
    work.go.release(5)
    done = work.done
    assert list(line.stream(free(2))) == [0, 1]
    assert work.done == done == 3


def test_a_waiting_request_can_be_taken_back_and_does_not_run(line: GenerationQueue[int]):
    first, second, cancelled = Counter(), free(1), threading.Event()
    held = line.stream(first)
    first.go.release()
    next(held)
    threading.Timer(0.1, cancelled.set).start()
    with pytest.raises(GenerationCancelledError):
        list(line.stream(second, cancelled))
    held.close()
    assert list(line.stream(free(1))) == [0]
    assert not second.began.is_set()


def test_an_event_ends_running_work_even_where_nobody_reads(line: GenerationQueue[int]):
    work, cancelled = Counter(), threading.Event()
    stream = line.stream(work, cancelled)
    work.go.release()
    next(stream)
    cancelled.set()
    assert list(line.stream(free(1))) == [0]
    with pytest.raises(GenerationCancelledError):
        next(stream)


def test_errors_reach_the_caller_and_the_next_one_is_served(line: GenerationQueue[int]):
    def broken(_stopped: Stopped) -> Iterator[int]:
        yield 1
        msg = "no"
        raise LookupError(msg)

    stream = line.stream(broken)
    assert next(stream) == 1
    with pytest.raises(LookupError):
        next(stream)
    assert list(line.stream(free(1))) == [0]


def test_the_event_loop_goes_on_while_the_model_computes(line: GenerationQueue[int]):
    async def main() -> tuple[list[int], int]:
        work, ticks = Counter(3), 0

        async def tick() -> None:
            nonlocal ticks
            for _ in range(3):
                await asyncio.sleep(0.02)
                ticks += 1
                work.go.release()

        ticking = asyncio.create_task(tick())
        items = [item async for item in line.astream(work)]
        await ticking
        return items, ticks

    assert asyncio.run(main()) == ([0, 1, 2], 3)


def test_cancelling_a_task_ends_the_computation(line: GenerationQueue[int]):
    work = Counter()
    work.go.release(2)

    async def main() -> int:
        async def read() -> None:
            async for _ in line.astream(work):
                pass

        task = asyncio.create_task(read())
        while work.done < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        work.go.release(5)
        return len([item async for item in line.astream(free(2))])

    assert asyncio.run(main()) == 2
    assert work.done == 2


def test_an_event_ends_an_asynchronous_wait(line: GenerationQueue[int]):
    first, cancelled = Counter(), threading.Event()
    held = line.stream(first)
    first.go.release()
    next(held)

    async def main() -> None:
        asyncio.get_running_loop().call_later(0.05, cancelled.set)
        async for _ in line.astream(free(1), cancelled):
            pass

    with pytest.raises(GenerationCancelledError):
        asyncio.run(main())
    held.close()


def test_errors_reach_an_asynchronous_caller(line: GenerationQueue[int]):
    def broken(_stopped: Stopped) -> Iterator[int]:
        msg = "no"
        raise LookupError(msg)

    async def main() -> None:
        async for _ in line.astream(broken):
            pass

    with pytest.raises(LookupError):
        asyncio.run(main())


def test_ending_the_queue_ends_what_it_computes():
    line: GenerationQueue[int] = GenerationQueue("line")
    endless, got = Counter(), []

    def read() -> None:
        got.extend(line.stream(endless))

    reader = threading.Thread(target=read)
    reader.start()
    endless.go.release()
    line.close()
    reader.join(timeout=10)
    assert not reader.is_alive()


def test_several_threads_compute_at_once():
    line: GenerationQueue[int] = GenerationQueue("line", threads=2)
    first, second = Counter(), Counter()
    streams = [line.stream(first), line.stream(second)]
    for work in (first, second):
        work.go.release()
    assert [next(stream) for stream in streams] == [0, 0]
    for stream in streams:
        stream.close()
    line.close()


def test_a_line_that_is_full_says_how_many_wait_and_takes_the_next_one_when_there_is_room():
    line: GenerationQueue[int] = GenerationQueue("line", threads=2, longest=3)
    works = [Counter(1) for _ in range(5)]
    with ThreadPoolExecutor(5) as callers:
        answers = [callers.submit(lambda work=work: list(line.stream(work))) for work in works]  # type: ignore[misc]
        while line.waiting < 3:
            time.sleep(0.01)
        with pytest.raises(ModelBusyError, match=r"busy: 3 are waiting"):
            next(line.stream(free(1)))
        assert line.waiting == 3
        for work in works:
            work.go.release()
        assert [answer.result() for answer in answers] == [[0]] * 5
    assert list(line.stream(free(2))) == [0, 1]
    assert line.waiting == 0
    line.close()


def test_those_who_leave_the_line_make_room_in_it():
    line: GenerationQueue[int] = GenerationQueue("line", longest=1)
    first, cancelled = Counter(1), threading.Event()
    with ThreadPoolExecutor(2) as callers:
        held = callers.submit(lambda: list(line.stream(first)))
        first.began.wait()
        left = callers.submit(lambda: list(line.stream(free(1), cancelled)))
        while line.waiting < 1:
            time.sleep(0.01)
        cancelled.set()
        with pytest.raises(GenerationCancelledError):
            left.result()
        assert line.waiting == 0
        taken = callers.submit(lambda: list(line.stream(free(1))))
        while line.waiting < 1:
            time.sleep(0.01)
        with pytest.raises(ModelBusyError):
            next(line.stream(free(1)))
        first.go.release()
        assert (held.result(), taken.result()) == ([0], [0])
    line.close()


def test_an_asynchronous_caller_is_refused_as_well():
    line: GenerationQueue[int] = GenerationQueue("line", longest=0)
    first = Counter(1)
    with ThreadPoolExecutor(1) as callers:
        held = callers.submit(lambda: list(line.stream(first)))
        first.began.wait()

        async def main() -> None:
            async for _ in line.astream(free(1)):
                pass

        with pytest.raises(ModelBusyError):
            asyncio.run(main())
        first.go.release()
        assert held.result() == [0]
    line.close()
