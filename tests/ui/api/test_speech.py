"""A text as sound, by OpenAI's own client; the silent voice stands in for real ones."""

import io
import struct
import time
from typing import Any

import av
import numpy as np
import openai
import pytest

from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.api.sound import SoundFormat, open_encoder
from elysia_chat.voice import silence
from elysia_chat.voice.audio import Audio
from elysia_chat.voice.silence import SilenceEngine
from tests.ui.web.parts import ServicesWith

from .clients import metric, wait_until

TEXT = "Moonflowers open at night. They smell of rain. Nobody else has seen them bloom here."
RATE = 24_000


def decoded(data: bytes) -> tuple[float, int]:
    """Return seconds and sample rate of a sound file, read as a stream."""
    with av.open(io.BytesIO(data)) as file:
        frames = list(file.decode(audio=0))
    return sum(frame.samples for frame in frames) / frames[0].sample_rate, frames[0].sample_rate


def spoken(client: openai.OpenAI, **fields: Any) -> bytes:
    asked = {"model": "tts-1", "voice": "default", "input": TEXT, **fields}
    return client.audio.speech.create(**asked).content


def test_every_format_holds_the_whole_text(client: openai.OpenAI):
    long = (len(spoken(client, response_format="pcm")) / 2) / RATE
    assert long > 3
    for kind, begin in (("wav", b"RIFF"), ("mp3", b""), ("opus", b"OggS"), ("ogg", b"OggS")):
        data = spoken(client, response_format=kind)
        assert data.startswith(begin)
        seconds, _ = decoded(data)
        assert seconds == pytest.approx(long, abs=0.15), kind
    assert decoded(spoken(client))[0] == pytest.approx(long, abs=0.15)


def test_speed_and_voice_are_the_requests(client: openai.OpenAI):
    slow = len(spoken(client, response_format="pcm"))
    assert len(spoken(client, response_format="pcm", speed=2)) == pytest.approx(slow / 2, rel=0.1)
    assert spoken(client, model="violet", voice="silence")
    listed = client.get("/audio/voices", cast_to=object)["voices"]
    assert [voice["id"] for voice in listed][:3] == ["default", "xiaoyi", "xiaoxiao"]
    with pytest.raises(openai.BadRequestError, match=r"no voice 'alloy'; known: .*xiaoyi") as caught:
        spoken(client, voice="alloy")
    assert caught.value.code == "voice_not_found"


def test_what_cannot_be_said_is_a_bad_request(client: openai.OpenAI):
    refused: list[tuple[dict[str, Any], str]] = [
        ({"response_format": "aac"}, "'mp3', 'opus'"),
        ({"speed": 4}, "speed"),
        ({"input": "  "}, "empty"),
        ({"input": "…"}, "nothing to say"),
        ({"input": "Привет."}, "No voice"),
        ({"input": "x" * 5000}, "limit"),
        ({"stream_format": "sse"}, "stream_format"),
    ]
    for fields, reason in refused:
        with pytest.raises(openai.BadRequestError, match=reason):
            spoken(client, **fields)
    assert spoken(client, input="Yes.")


def test_speech_that_is_off_is_not_found(start, connect):
    client = connect(start(ServicesWith(ScriptedChatModel(), "voice.enabled=false")))
    with pytest.raises(openai.NotFoundError, match=r"voice\.enabled"):
        spoken(client)


class SlowEngine(SilenceEngine):
    """Takes its time, and counts what it was asked."""

    asked = 0

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> Audio:
        type(self).asked += 1
        time.sleep(0.3)
        return super().synthesize(text, language=language, speed=speed)


def test_the_first_sentence_is_sent_while_the_next_is_spoken_and_leaving_ends_it(start, connect, monkeypatch):
    monkeypatch.setattr(silence, "SilenceEngine", SlowEngine)
    SlowEngine.asked = 0
    url = start(ServicesWith(ScriptedChatModel(), "voice.cache_mb=0"))
    client = connect(url)
    asked = {"model": "violet", "voice": "default", "input": TEXT * 5, "response_format": "wav"}
    with client.audio.speech.with_streaming_response.create(**asked) as response:
        first = next(response.iter_bytes(1024))
        assert SlowEngine.asked < 4
        assert struct.unpack_from("<I", first, 24) == (RATE,)
    wait_until(lambda: metric(url, 'elysia_chat_running{work="other"}') == 0)
    said = SlowEngine.asked
    assert said < 8
    time.sleep(0.7)
    assert SlowEngine.asked <= said + 1


@pytest.mark.parametrize("kind", ["mp3", "opus", "wav", "pcm"])
def test_pieces_of_sound_join_without_a_gap(kind: SoundFormat):
    tone = (0.3 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)).astype(np.float32)
    encoder = open_encoder(kind, RATE)
    pieces = [encoder.add(Audio(part, RATE)) for part in np.split(tone, 6)]
    assert all(pieces[:1])
    data = b"".join([*pieces, encoder.finish()])
    if kind == "pcm":
        heard, rate = np.frombuffer(data, "<i2") / 32768, RATE
    else:
        with av.open(io.BytesIO(data)) as file:
            frames = list(file.decode(audio=0))
        rate = frames[0].sample_rate
        heard = np.concatenate([np.atleast_2d(frame.to_ndarray())[0].astype(np.float64) for frame in frames])
        heard /= 32768 if frames[0].format.name.startswith("s16") else 1
    inner = heard[rate // 4 : 11 * rate // 4]
    loudness = [np.sqrt(np.mean(part**2)) for part in np.array_split(inner, 100)]
    assert min(loudness) > 0.9 * max(loudness)
    assert max(loudness) == pytest.approx(0.3 / np.sqrt(2), rel=0.1)
