"""The fake engine: silence of the length that the speech would have."""

import re
from typing import TYPE_CHECKING

from elysia_chat.voice.engine import check_speakable

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio
    from elysia_chat.voice.registry import Voice

SYLLABLES_PER_SECOND = 4.0
_SAMPLE_RATE = 24_000
# A run of vowels in a Latin word is about one syllable; any other letter (a Chinese character, a kana) is one itself.
_SYLLABLE = re.compile(r"[aeiouyà-öø-ÿ]+|\d|[^\W\d_a-zà-öø-ÿ]", re.IGNORECASE)


class SilenceEngine:
    """Says every language without a sound, at about four syllables a second.

    Args:
        sample_rate: in Hz.
    """

    def __init__(self, sample_rate: int = _SAMPLE_RATE) -> None:
        self.languages = frozenset({"zh", "en", "ja"})
        self.sample_rate = sample_rate
        self.fingerprint = f"silence {sample_rate}"

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> "Audio":
        """Return silence as long as the text's syllables take."""
        from elysia_chat.voice.audio import silence

        check_speakable(self, text, language)
        syllables = max(1, len(_SYLLABLE.findall(text)))
        return silence(syllables / SYLLABLES_PER_SECOND / speed, self.sample_rate)


def load_silence(voice: "Voice", speaker: str | None, threads: int) -> SilenceEngine:
    """Return the engine; there is nothing to load."""
    del speaker, threads
    return SilenceEngine(voice.info.sample_rate)
