import threading
from collections.abc import Iterator

import numpy as np
import pytest

from elysia_chat.voice.audio import Audio
from elysia_chat.voice.speaker import Speaker
from elysia_chat.voice.stream import SpeechStream, SpeechWorker
from tests.voice.parts import CountingEngine


@pytest.fixture
def worker() -> Iterator[SpeechWorker]:
    worker = SpeechWorker()
    yield worker
    worker.close()


def stream_of(engine: CountingEngine, worker: SpeechWorker) -> SpeechStream:
    return SpeechStream(Speaker({"zh": engine, "en": engine}), worker)


def test_sentences_come_in_order_and_iterating_ends(worker: SpeechWorker):
    stream = stream_of(CountingEngine(), worker)
    texts = [f"第{number}句。" for number in range(10)]
    for text in texts:
        stream.feed(text)
    stream.finish()
    assert [spoken.text for spoken in stream] == texts
    assert stream.done
    stream.feed("太晚了。")
    assert list(stream) == []


def test_the_first_sentence_is_heard_before_the_last_is_written(worker: SpeechWorker):
    stream = stream_of(CountingEngine(), worker)
    heard = iter(stream)
    stream.feed("你好。")
    assert next(heard).text == "你好。"
    assert not stream.done
    stream.finish()
    assert next(heard, None) is None


def test_streams_take_turns(worker: SpeechWorker):
    engine = CountingEngine()
    engine.allowed.clear()
    first, second = stream_of(engine, worker), stream_of(engine, worker)
    for text in ("甲一。", "甲二。", "甲三。"):
        first.feed(text)
    assert engine.begun.wait(10)
    second.feed("乙一。")
    second.feed("乙二。")
    engine.allowed.set()
    for stream in (first, second):
        stream.finish()
        list(stream)
    assert engine.said[0] == "甲一。"
    assert engine.said.index("乙一。") <= 2
    assert engine.said.index("乙二。") < 5
    assert engine.said[-1] in ("甲三。", "乙二。")


def test_cancelling_ends_at_once_even_while_a_sentence_is_computed(worker: SpeechWorker):
    engine = CountingEngine()
    engine.allowed.clear()
    stream = stream_of(engine, worker)
    stream.feed("一。")
    stream.feed("二。")
    assert engine.begun.wait(10)
    stream.cancel()
    assert list(stream) == []
    assert stream.done
    engine.allowed.set()
    other = stream_of(engine, worker)
    other.feed("三。")
    other.finish()
    assert [spoken.text for spoken in other] == ["三。"]
    assert stream.ready() == []
    assert engine.said == ["一。", "三。"]


def test_cancelling_wakes_a_reader(worker: SpeechWorker):
    stream = stream_of(CountingEngine(), worker)
    heard: list[object] = []
    reader = threading.Thread(target=lambda: heard.extend(stream))
    reader.start()
    stream.cancel()
    reader.join(10)
    assert not reader.is_alive()
    assert heard == []


def test_a_reason_is_told_once_and_the_reply_goes_on(worker: SpeechWorker):
    stream = stream_of(CountingEngine(failing="坏"), worker)
    for text in ("坏了。", "好的。", "又坏了。"):
        stream.feed(text)
    stream.finish()
    spoken = list(stream)
    assert [one.audio is not None for one in spoken] == [False, True, False]
    assert [str(one.problem) if one.problem else None for one in spoken] == ["the engine is broken", None, None]


def test_code_that_goes_over_sentences_is_not_said(worker: SpeechWorker):
    engine = CountingEngine()
    stream = stream_of(engine, worker)
    for text in ("看：\n```\n", "代码一。", "代码二。\n```\n", "好了。"):
        stream.feed(text)
    stream.finish()
    assert [spoken.audio is not None for spoken in stream] == [True, False, False, True]
    assert engine.said == ["看：", "好了。"]


def test_numbers_alone_follow_the_language_of_the_reply(worker: SpeechWorker):
    engine = CountingEngine()
    stream = stream_of(engine, worker)
    for text in ("How old is she?", " 42."):
        stream.feed(text)
    stream.finish()
    list(stream)
    assert engine.said == ["How old is she?", "forty two."]


def test_ready_does_not_wait(worker: SpeechWorker):
    engine = CountingEngine()
    engine.allowed.clear()
    stream = stream_of(engine, worker)
    stream.feed("一。")
    assert stream.ready() == []
    engine.allowed.set()
    stream.finish()
    found: list[str] = []
    while not stream.done:
        found += [spoken.text for spoken in stream.ready()]
    assert found == ["一。"]


def test_what_nobody_foresaw_reaches_the_reader(worker: SpeechWorker):
    class Broken(CountingEngine):
        def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> Audio:
            return Audio(np.array([np.nan], dtype=np.float32), 24_000)

    stream = stream_of(Broken(), worker)
    stream.feed("一。")
    with pytest.raises(ValueError, match="finite"):
        list(stream)
    healthy = stream_of(CountingEngine(), worker)
    healthy.feed("二。")
    healthy.finish()
    assert len(list(healthy)) == 1
