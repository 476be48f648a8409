"""What has been spoken, kept within a bound, so that a reply heard again costs nothing."""

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio


class SpokenKey(NamedTuple):
    """What decides a sound."""

    fingerprint: str
    text: str
    language: str
    speed: float


class SpeechCache:
    """Sounds by what decided them; the least recently used ones go first. Safe from any thread.

    Args:
        max_bytes: of all samples together; 0 keeps nothing.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._sounds: OrderedDict[SpokenKey, Audio] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: SpokenKey) -> "Audio | None":
        """Return a sound that was put in, None where it is not there any more."""
        with self._lock:
            if key in self._sounds:
                self._sounds.move_to_end(key)
            return self._sounds.get(key)

    def put(self, key: SpokenKey, audio: "Audio") -> None:
        """Keep a sound; one that is larger than the bound is not kept."""
        size = audio.samples.nbytes
        with self._lock:
            if size > self._max_bytes or key in self._sounds:
                return
            self._sounds[key] = audio
            self._bytes += size
            while self._bytes > self._max_bytes:
                _, dropped = self._sounds.popitem(last=False)
                self._bytes -= dropped.samples.nbytes

    @property
    def bytes(self) -> int:
        """How much is kept."""
        with self._lock:
            return self._bytes
