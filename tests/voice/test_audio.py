import io

import numpy as np
import pytest
import soundfile

from elysia_chat.voice.audio import Audio, audio_format, concatenate, encode, resample, silence, trim_silence
from elysia_chat.voice.errors import AudioFormatError


def tone(seconds: float = 1.0, rate: int = 24_000, level: float = 0.5) -> Audio:
    time = np.arange(round(seconds * rate)) / rate
    return Audio((level * np.sin(2 * np.pi * 440 * time)).astype(np.float32), rate)


def test_samples_are_clipped_and_cannot_be_changed():
    audio = Audio(np.array([0.5, 2.0, -3.0]), 8000)  # type: ignore[arg-type]
    assert audio.samples.tolist() == [0.5, 1.0, -1.0]
    assert audio.samples.dtype == np.float32
    with pytest.raises(ValueError, match="read-only"):
        audio.samples[0] = 0


@pytest.mark.parametrize(("samples", "rate"), [(np.zeros((2, 3)), 8000), (np.array([np.nan]), 8000), (np.zeros(3), 0)])
def test_what_is_no_sound_is_refused(samples: np.ndarray, rate: int):
    with pytest.raises(ValueError, match="audio must be"):
        Audio(samples, rate)


def test_joining_resamples_and_leaves_gaps():
    joined = concatenate([tone(1.0, 24_000), tone(0.5, 22_050)], gap_seconds=0.1)
    assert joined.sample_rate == 24_000
    assert joined.seconds == pytest.approx(1.6, abs=0.001)
    with pytest.raises(ValueError, match="nothing"):
        concatenate([])


def test_resampling_keeps_length_and_pitch():
    changed = resample(tone(1.0, 22_050), 48_000)
    assert changed.seconds == pytest.approx(1.0, abs=0.001)
    loudest = np.abs(np.fft.rfft(changed.samples)).argmax()
    assert loudest == pytest.approx(440, abs=2)


def test_silence_is_trimmed_at_the_edges_alone():
    parts = [silence(0.5, 24_000), tone(0.3), silence(0.4, 24_000), tone(0.3), silence(0.7, 24_000)]
    assert trim_silence(concatenate(parts), keep_seconds=0.03).seconds == pytest.approx(1.06, abs=0.02)
    assert trim_silence(silence(1.0, 24_000)).seconds == 0
    assert trim_silence(silence(0, 24_000)).seconds == 0
    assert trim_silence(tone()).seconds == pytest.approx(1.0, abs=0.001)


@pytest.mark.parametrize("kind", ["wav", "mp3", "ogg"])
@pytest.mark.parametrize("rate", [24_000, 20_000])
def test_bytes_can_be_read_back(kind: str, rate: int):
    content = encode(tone(12.0, rate), audio_format(f".{kind.upper()}"))
    samples, found = soundfile.read(io.BytesIO(content))
    assert found == (22_050 if (kind, rate) == ("mp3", 20_000) else rate)
    assert len(samples) / found == pytest.approx(12.0, abs=0.1)
    assert np.sqrt(np.square(samples).mean()) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert len(encode(silence(0, rate), audio_format(kind))) > 0


def test_unknown_formats_are_named():
    with pytest.raises(AudioFormatError, match=r"'\.flac' .*\.wav, \.mp3, \.ogg"):
        audio_format(".flac")
