"""Sentences as written to sound: normalised, split by language, spoken, joined."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.voice.cache import SpeechCache, SpokenKey
from elysia_chat.voice.errors import UnspeakableError
from elysia_chat.voice.speech_text import Piece, speakable

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio
    from elysia_chat.voice.engine import SpeechEngine

SAMPLE_RATE = 24_000
_NAMES = {"zh": "Chinese", "en": "English", "ja": "Japanese"}


@dataclass(frozen=True)
class SpokenSentence:
    """A sentence and its sound.

    Attributes:
        text: as written.
        audio: None where there is nothing to say or nothing of it could be said.
        problem: why some of it, or all, could not be said.
    """

    text: str
    audio: "Audio | None" = None
    problem: ElysiaChatError | None = None


class Speaker:
    """Speaks sentences of any language that there is a voice for. Safe from any thread.

    Args:
        voices: engines by language.
        cache: of what has been spoken; several speakers may share one.
        speed: 2 takes half as long, 0.5 twice.
        default_language: of sentences that hold numbers alone.
        sample_rate: of all sounds, in Hz; engines of another are resampled.
        pause_seconds: silence after each sentence, and half of it between parts of different voices.
    """

    def __init__(
        self,
        voices: "Mapping[str, SpeechEngine]",
        cache: SpeechCache | None = None,
        *,
        speed: float = 1.0,
        default_language: str = "zh",
        sample_rate: int = SAMPLE_RATE,
        pause_seconds: float = 0.08,
    ) -> None:
        self.sample_rate = sample_rate
        self.default_language = default_language
        self._voices = voices
        self._cache = cache if cache is not None else SpeechCache(0)
        self._speed = speed
        self._pause_seconds = pause_seconds

    def speak(self, sentence: str) -> "Audio | None":
        """Return the sound of a sentence, None where it holds nothing to say.

        Raises:
            ElysiaChatError: nothing of it could be said; the message says why.
        """
        spoken = self.utter(sentence)
        if spoken.audio is None and spoken.problem is not None:
            raise spoken.problem
        return spoken.audio

    def utter(self, sentence: str, default_language: str | None = None) -> SpokenSentence:
        """Speak as much of a sentence as there are voices for; what could not be said is told, not raised.

        Args:
            sentence: as written.
            default_language: of numbers without words; the speaker's own where None.
        """
        from elysia_chat.voice.audio import concatenate, silence

        sounds: list[Audio] = []
        problem: ElysiaChatError | None = None
        for piece in speakable(sentence, default_language or self.default_language):
            try:
                sounds.append(self._say(piece))
            except ElysiaChatError as error:
                problem = problem or error
        if not sounds:
            return SpokenSentence(sentence, None, problem)
        joined = concatenate(sounds, gap_seconds=self._pause_seconds / 2, sample_rate=self.sample_rate)
        return SpokenSentence(sentence, concatenate([joined, silence(self._pause_seconds, self.sample_rate)]), problem)

    def _say(self, piece: Piece) -> "Audio":
        engine = self._voices.get(piece.language)
        if engine is None:
            raise UnspeakableError(_no_voice(piece))
        key = SpokenKey(engine.fingerprint, piece.text, piece.language, self._speed)
        audio = self._cache.get(key)
        if audio is None:
            audio = engine.synthesize(piece.text, language=piece.language, speed=self._speed)
            self._cache.put(key, audio)
        return audio


def _no_voice(piece: Piece) -> str:
    name = _NAMES.get(piece.language)
    if name is None:
        return f"No voice can read the script of '{piece.text.strip()[:20]}'."
    return f"There is no voice for {name}: choose one with the setting voice.{piece.language}."
