"""Sound as one frozen value, and the one place where it becomes bytes."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from elysia_chat.voice.errors import AudioFormatError

AudioFormat = Literal["wav", "mp3", "ogg"]
Samples = NDArray[np.float32]

_SUBTYPES = {"wav": "PCM_16", "mp3": "MPEG_LAYER_III", "ogg": "VORBIS"}
_MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)
# libsndfile's Vorbis encoder overflows its stack on very long single writes.
_BLOCK_SECONDS = 5
_FRAME_SECONDS = 0.01


@dataclass(frozen=True, eq=False)
class Audio:
    """Mono sound.

    Attributes:
        samples: float32 of shape (n,), within [-1, 1], read-only.
        sample_rate: in Hz.

    Raises:
        ValueError: the samples are not one row of finite numbers, or the rate is not positive.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        samples = np.array(self.samples, dtype=np.float32)
        if samples.ndim != 1 or not np.isfinite(samples).all() or self.sample_rate <= 0:
            msg = f"audio must be one row of finite samples at a positive rate, not {samples.shape} {self.sample_rate}"
            raise ValueError(msg)
        np.clip(samples, -1.0, 1.0, out=samples)
        samples.flags.writeable = False
        object.__setattr__(self, "samples", samples)

    @property
    def seconds(self) -> float:
        """How long it lasts."""
        return len(self.samples) / self.sample_rate


def silence(seconds: float, sample_rate: int) -> Audio:
    """Return silence of a length in seconds."""
    return Audio(np.zeros(round(max(seconds, 0.0) * sample_rate), dtype=np.float32), sample_rate)


def concatenate(parts: Sequence[Audio], *, gap_seconds: float = 0.0, sample_rate: int | None = None) -> Audio:
    """Join sounds, with silence of `gap_seconds` between them.

    Args:
        parts: at least one.
        gap_seconds: silence between two parts.
        sample_rate: of the result; without one, the highest of the parts. Parts of other rates are resampled.

    Raises:
        ValueError: there are no parts.
    """
    if not parts:
        msg = "nothing to concatenate"
        raise ValueError(msg)
    rate = sample_rate or max(part.sample_rate for part in parts)
    gap = silence(gap_seconds, rate).samples
    pieces: list[Samples] = []
    for number, part in enumerate(parts):
        if number:
            pieces.append(gap)
        pieces.append(resample(part, rate).samples)
    return Audio(np.concatenate(pieces), rate)


def resample(audio: Audio, sample_rate: int) -> Audio:
    """Return the sound at another rate in Hz; the same value where it has that rate."""
    if audio.sample_rate == sample_rate:
        return audio
    import soxr

    return Audio(soxr.resample(audio.samples, audio.sample_rate, sample_rate), sample_rate)


def trim_silence(audio: Audio, *, threshold_db: float = -45.0, keep_seconds: float = 0.03) -> Audio:
    """Cut the silence off both edges.

    Args:
        audio: what to trim.
        threshold_db: frames of 10 ms whose root mean square is this far below the loudest frame's count as silent.
        keep_seconds: how much of the silence stays at each edge, so that no sound is clipped.

    Returns:
        The trimmed sound; an empty one where all is silent.
    """
    frame = max(1, round(_FRAME_SECONDS * audio.sample_rate))
    count = math.ceil(len(audio.samples) / frame)
    padded = np.zeros(count * frame, dtype=np.float32)
    padded[: len(audio.samples)] = audio.samples
    power = np.square(padded.reshape(count, frame)).mean(axis=1)
    if count == 0 or power.max() == 0:
        return silence(0, audio.sample_rate)
    loud = np.flatnonzero(power >= power.max() * 10 ** (threshold_db / 10))
    keep = round(keep_seconds * audio.sample_rate)
    start = max(0, int(loud[0]) * frame - keep)
    return Audio(audio.samples[start : (int(loud[-1]) + 1) * frame + keep], audio.sample_rate)


def audio_format(suffix: str) -> AudioFormat:
    """Return the format that a file's suffix (".wav") or a format's name ("wav") stands for.

    Raises:
        AudioFormatError: it is none of the known ones.
    """
    name = suffix.lower().lstrip(".")
    if name not in get_args(AudioFormat):
        known = ", ".join(f".{known}" for known in get_args(AudioFormat))
        msg = f"'{suffix}' is no format of audio files that can be written; choose one of {known}."
        raise AudioFormatError(msg)
    return cast(AudioFormat, name)


def encode(audio: Audio, kind: AudioFormat) -> bytes:
    """Return the bytes of an audio file: 16-bit WAV, MP3, or Vorbis in Ogg.

    MP3 knows nine sample rates; a sound of another is resampled to the next higher one. An empty sound becomes a
    twentieth of a second of silence, since not every format can be empty.
    """
    import soundfile

    if len(audio.samples) == 0:
        audio = silence(0.05, audio.sample_rate)
    if kind == "mp3" and audio.sample_rate not in _MP3_RATES:
        audio = resample(audio, next((rate for rate in _MP3_RATES if rate > audio.sample_rate), _MP3_RATES[-1]))
    block = _BLOCK_SECONDS * audio.sample_rate
    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", audio.sample_rate, channels=1, format=kind.upper(), subtype=_SUBTYPES[kind]
    ) as file:
        for start in range(0, len(audio.samples), block):
            file.write(audio.samples[start : start + block])
    return buffer.getvalue()
