"""Kokoro-82M (StyleTTS 2) as a Mandarin voice.

A sentence becomes phonemes by misaki's rules for Chinese, the ones that Kokoro was trained with; they and a style
vector that depends on their number go through the network (`kokoro_network`).
"""

import json
import logging
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.voice.audio import Audio, concatenate, trim_silence
from elysia_chat.voice.engine import check_speakable
from elysia_chat.voice.errors import SynthesisError, UnspeakableError
from elysia_chat.voice.kokoro_weights import MODEL_SHA256, RECIPE, kokoro_model

if TYPE_CHECKING:
    from elysia_chat.voice.kokoro_network import KokoroNetwork
    from elysia_chat.voice.registry import Voice

SAMPLE_RATE = 24_000
_VOICES = Path(__file__).parent / "voices"
_STYLE_SIZE = 256
# The style vectors go up to 509 phonemes; long texts sound better in shorter runs.
_MOST_PHONEMES = 300
_PAUSE_SECONDS = 0.15


class KokoroEngine:
    """Speaks Mandarin.

    Args:
        network: computes the sound of phonemes.
        styles: of the voice, float32 of shape (510, 1, 256): row i is for a text of i phonemes.
        symbols: phonemes and punctuation, and their numbers.
        name: of the voice, for the fingerprint.
    """

    languages = frozenset({"zh"})
    sample_rate = SAMPLE_RATE

    def __init__(
        self, network: "KokoroNetwork", styles: NDArray[np.float32], symbols: dict[str, int], name: str
    ) -> None:
        self._network = network
        self._styles = styles
        self._symbols = symbols
        self.fingerprint = f"kokoro {MODEL_SHA256[:16]} {RECIPE} {name}"

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> Audio:
        """Speak a sentence; see `SpeechEngine`."""
        check_speakable(self, text, language)
        runs = _in_runs("".join(symbol for symbol in _phonemes(text) if symbol in self._symbols))
        if not runs:
            msg = "None of these characters has a reading in Mandarin."
            raise UnspeakableError(msg)
        return concatenate([self._speak(run, speed) for run in runs], gap_seconds=_PAUSE_SECONDS)

    def _speak(self, phonemes: str, speed: float) -> Audio:
        numbers = [self._symbols[symbol] for symbol in phonemes]
        style = self._styles[min(len(numbers), len(self._styles) - 1)]
        samples = self._network.wave(numbers, style, speed)
        if not np.isfinite(samples).all():
            msg = "The Mandarin voice computed no sound for this sentence."
            raise SynthesisError(msg)
        return trim_silence(Audio(samples, SAMPLE_RATE))


def load_kokoro(voice: "Voice", speaker: str | None, threads: int) -> KokoroEngine:
    """Load a built-in Mandarin voice; the weights are converted first where that has not been done.

    Raises:
        VoicePackageError: a package with the weights is missing or damaged.
        FolderNotWritableError: the data folder cannot be written.
    """
    del speaker
    from elysia_chat.voice.kokoro_network import load_network

    name = voice.info.name
    symbols = json.loads((_VOICES / "symbols.json").read_text(encoding="utf-8"))
    _reader()
    styles = np.frombuffer((_VOICES / f"{name}.bin").read_bytes(), dtype="<f4").reshape(-1, 1, _STYLE_SIZE)
    return KokoroEngine(load_network(kokoro_model(), threads), styles, symbols, name)


_reading = threading.Lock()


def _phonemes(text: str) -> str:
    with _reading:
        return str(_reader()(text)[0])


@lru_cache(maxsize=1)
def _reader() -> Any:
    """Return misaki's reader of Chinese, with jieba's dictionary loaded."""
    import jieba
    from misaki.zh import ZHG2P

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return ZHG2P()


def _in_runs(phonemes: str) -> list[str]:
    """Cut phonemes into runs that the model takes, behind punctuation or else between words."""
    runs = []
    rest = phonemes.strip()
    while len(rest) > _MOST_PHONEMES:
        head = rest[:_MOST_PHONEMES]
        cut = max(head.rfind(mark) for mark in ".!?;:,") + 1
        cut = cut if cut > _MOST_PHONEMES // 3 else head.rfind(" ") + 1 or _MOST_PHONEMES
        runs.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [run for run in (*runs, rest) if re.search(r"\w", run)]
