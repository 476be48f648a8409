"""Sound as bytes that can be sent while more of it is being spoken."""

import io
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from elysia_chat.voice.audio import Audio

SoundFormat = Literal["mp3", "opus", "ogg", "wav", "pcm"]
_MEDIA_TYPES: dict[SoundFormat, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "ogg": "audio/ogg",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
# Of a constant rate (80 kbit/s at 24 kHz), so that players know the length of what has no index.
_CONSTANT = {"bitrate_mode": "CONSTANT", "compression_level": 0.5}
_UNKNOWN = 0xFFFFFFFF
_SAMPLE_BYTES = 2


class Encoder(Protocol):
    """Takes sounds of one rate, gives bytes."""

    def add(self, audio: "Audio") -> bytes:
        """Return the bytes that have become certain with a further sound."""

    def finish(self) -> bytes:
        """Return the last bytes."""


def media_type(kind: SoundFormat) -> str:
    """Return the content type of a format."""
    return _MEDIA_TYPES[kind]


def open_encoder(kind: SoundFormat, sample_rate: int) -> Encoder:
    """Return an encoder.

    Args:
        kind: "opus" and "ogg" are both Opus in Ogg; "pcm" is 16-bit little-endian without a header.
        sample_rate: of all sounds, in Hz: 8, 12, 16, 24 or 48 kHz, which every format knows.
    """
    if kind == "wav":
        return _Samples(_wav_header(sample_rate))
    if kind == "pcm":
        return _Samples(b"")
    return _Compressed(kind, sample_rate)


@dataclass
class _Samples:
    head: bytes

    def add(self, audio: "Audio") -> bytes:
        head, self.head = self.head, b""
        return head + (audio.samples * 32767).astype("<i2").tobytes()

    def finish(self) -> bytes:
        return self.head


class _Compressed:
    """libsndfile's encoder over a file that forgets what has been taken from it."""

    def __init__(self, kind: Literal["mp3", "opus", "ogg"], sample_rate: int) -> None:
        import soundfile

        self._file = _Outlet()
        how = {"format": "MP3", "subtype": "MPEG_LAYER_III", **_CONSTANT} if kind == "mp3" else _OPUS
        self._encoder = soundfile.SoundFile(self._file, "w", sample_rate, channels=1, **how)

    def add(self, audio: "Audio") -> bytes:
        self._encoder.write(audio.samples)
        return self._file.take()

    def finish(self) -> bytes:
        self._encoder.close()
        return self._file.take()


_OPUS = {"format": "OGG", "subtype": "OPUS"}


class _Outlet(io.RawIOBase):
    """A file whose beginning has been sent already: what is written there again, at the end, is lost."""

    def __init__(self) -> None:
        super().__init__()
        self._taken = 0
        self._bytes = bytearray()
        self._position = 0

    def take(self) -> bytes:
        taken = bytes(self._bytes)
        self._taken += len(taken)
        self._bytes.clear()
        return taken

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._taken + len(self._bytes)}
        self._position = origin[whence] + offset
        return self._position

    def write(self, data: "ReadableBuffer") -> int:
        written = bytes(data)
        place = self._position - self._taken
        if place >= 0:
            self._bytes[place : place + len(written)] = written
        self._position += len(written)
        return len(written)


def _wav_header(sample_rate: int) -> bytes:
    """Return the header of a mono 16-bit WAV file whose length is not known yet."""
    layout = struct.pack("<HHIIHH", 1, 1, sample_rate, sample_rate * _SAMPLE_BYTES, _SAMPLE_BYTES, 8 * _SAMPLE_BYTES)
    return b"".join(
        (
            b"RIFF" + struct.pack("<I", _UNKNOWN) + b"WAVE",
            b"fmt " + struct.pack("<I", len(layout)) + layout,
            b"data" + struct.pack("<I", _UNKNOWN),
        )
    )
