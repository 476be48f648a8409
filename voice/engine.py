"""The seam of speech: text of one language in, sound out."""

from typing import TYPE_CHECKING, Literal, Protocol

from elysia_chat.voice.errors import UnspeakableError

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio

Language = Literal["zh", "en", "ja"]


class SpeechEngine(Protocol):
    """A voice that is loaded.

    `synthesize` may be called from any thread; calls at the same time wait for each other or are independent.
    """

    @property
    def languages(self) -> frozenset[str]:
        """What it can say: of "zh", "en", "ja"."""
        ...

    @property
    def sample_rate(self) -> int:
        """Of all its sounds, in Hz."""
        ...

    @property
    def fingerprint(self) -> str:
        """Identifies weights, speaker and way of reading: equal fingerprints speak alike."""
        ...

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> "Audio":
        """Speak a sentence.

        Args:
            text: normalised: words and punctuation of one language, numbers written out.
            language: one of `languages`.
            speed: 2 takes half as long, 0.5 twice.

        Returns:
            The speech at `sample_rate`, silence trimmed at its edges.

        Raises:
            UnspeakableError: there is nothing to say, or the voice does not have the language.
            SynthesisError: the engine failed.
        """
        ...


def check_speakable(engine: SpeechEngine, text: str, language: str) -> None:
    """Check that an engine has a language and that there is a letter or digit to say.

    Raises:
        UnspeakableError: otherwise.
    """
    if language not in engine.languages:
        known = ", ".join(sorted(engine.languages))
        msg = f"This voice does not speak '{language}' (it has: {known}); choose another for it."
        raise UnspeakableError(msg)
    if not any(character.isalnum() for character in text):
        msg = "There is nothing to say in this text."
        raise UnspeakableError(msg)
