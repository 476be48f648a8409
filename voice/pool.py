"""The engines of a process: each voice is loaded once, on its first sentence."""

import threading
from functools import cached_property
from typing import TYPE_CHECKING

from elysia_chat.voice.registry import find_voice, load_engine

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio
    from elysia_chat.voice.engine import SpeechEngine
    from elysia_chat.voice.registry import Voice


class LazyEngine:
    """A `SpeechEngine` that is loaded when it first speaks; what it can say is known before.

    Args:
        voice: from the registry.
        speaker: which of its speakers, by name; its own choice where None.
        threads: how many the computation may use.
    """

    def __init__(self, voice: "Voice", speaker: str | None = None, threads: int = 1) -> None:
        self.languages: frozenset[str] = frozenset(voice.info.languages)
        self.sample_rate = voice.info.sample_rate
        self._voice = voice
        self._speaker = speaker if speaker in voice.info.speakers else None
        self._threads = threads
        self._loading = threading.Lock()

    @property
    def fingerprint(self) -> str:
        """That of the engine, which this loads."""
        return self.load().fingerprint

    def load(self) -> "SpeechEngine":
        """Load the engine where that has not been done, and return it.

        Raises:
            VoiceError: as `load_engine`.
        """
        with self._loading:
            return self._engine

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> "Audio":
        """Speak a sentence; see `SpeechEngine`."""
        return self.load().synthesize(text, language=language, speed=speed)

    @cached_property
    def _engine(self) -> "SpeechEngine":
        return load_engine(self._voice.info.name, speaker=self._speaker, threads=self._threads)


class VoicePool:
    """Gives out engines by name, one of each.

    Args:
        speaker: of voices that have several; one that a voice does not have leaves it its own choice.
        threads: how many each computation may use.
    """

    def __init__(self, speaker: str | None = None, threads: int = 1) -> None:
        self._speaker = speaker
        self._threads = threads
        self._engines: dict[str, LazyEngine] = {}
        self._lock = threading.Lock()

    def engine(self, name: str) -> LazyEngine:
        """Return the engine of a voice; it may not be loaded yet.

        Raises:
            UnknownVoiceError: there is no such voice; the message names the known ones.
            VoiceFolderError: the voice's folder is damaged.
        """
        with self._lock:
            if name not in self._engines:
                self._engines[name] = LazyEngine(find_voice(name), self._speaker, self._threads)
            return self._engines[name]

    def forget(self, name: str) -> None:
        """Drop an engine whose voice was changed or removed."""
        with self._lock:
            self._engines.pop(name, None)
