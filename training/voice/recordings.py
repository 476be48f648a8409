"""Recordings with what is said in them: a `metadata.csv` in LJSpeech's manner, or sound alone, which is transcribed."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.training.voice.errors import RecordingsError

METADATA = "metadata.csv"
SUFFIXES = (".wav", ".flac", ".ogg", ".mp3")
_FOLDERS = ("wavs", ".")


@dataclass(frozen=True)
class Recording:
    """A recording.

    Attributes:
        path: of its sound.
        text: what is said in it; "" where nobody has written it down.
    """

    path: Path
    text: str


def read_recordings(folder: Path) -> list[Recording]:
    """Read the recordings of a folder.

    With `metadata.csv`, each line is `name|text` or `name|text|text with numbers written out`; the sound is
    `wavs/<name>.wav` or `<name>` with any of the known suffixes. Without, every sound file counts, its text unknown.

    Raises:
        RecordingsError: there are none, a line has another form, or a sound is missing.
    """
    if not folder.is_dir():
        msg = f"There is no folder {folder} with recordings."
        raise RecordingsError(msg)
    table = folder / METADATA
    if table.is_file():
        return _listed(table)
    places = [folder / "wavs", folder] if (folder / "wavs").is_dir() else [folder]
    found = sorted(path for place in places for path in place.iterdir() if path.suffix.lower() in SUFFIXES)
    if not found:
        msg = f"There are no recordings in {folder}: neither {METADATA} nor sound files ({', '.join(SUFFIXES)})."
        raise RecordingsError(msg)
    return [Recording(path, "") for path in found]


def _listed(table: Path) -> list[Recording]:
    try:
        lines = table.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        msg = f"{table} is not UTF-8 text."
        raise RecordingsError(msg) from error
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        name, *texts = (part.strip() for part in line.split("|"))
        if not name or not texts:
            msg = f"{table}, line {number}: write it as name|text; it is: {line[:60]!r}."
            raise RecordingsError(msg)
        found.append(Recording(_sound(table.parent, name, number), texts[-1] or texts[0]))
    if not found:
        msg = f"{table} lists no recordings."
        raise RecordingsError(msg)
    return found


def _sound(folder: Path, name: str, line: int) -> Path:
    root = folder.resolve()
    for place in _FOLDERS:
        for suffix in ("", *SUFFIXES):
            path = folder / place / f"{name}{suffix}"
            if path.is_file() and path.resolve().is_relative_to(root):
                return path
    msg = f"{folder / METADATA}, line {line}: there is no sound file for '{name}' in {folder} or {folder / 'wavs'}."
    raise RecordingsError(msg)


def transcriber(model: str, language: str) -> Callable[[Path], str]:
    """Return a function that writes down what is said in a sound file, by faster-whisper.

    Args:
        model: a folder with a Whisper model of CTranslate2, or the name of one that faster-whisper knows.
        language: "zh", "en" or "ja".

    Raises:
        RecordingsError: faster-whisper is not installed, or the model cannot be loaded.
    """
    try:
        from faster_whisper import WhisperModel
    except ImportError as error:
        msg = (
            "These recordings have no transcripts, and writing them down needs faster-whisper: "
            f"pip install faster-whisper, or add a {METADATA} with a line name|text for each."
        )
        raise RecordingsError(msg) from error
    try:
        whisper: Any = WhisperModel(model, device="cpu", compute_type="int8")
    except (ValueError, OSError, RuntimeError) as error:
        msg = f"The speech recogniser '{model}' cannot be loaded: {str(error).splitlines()[0]}"
        raise RecordingsError(msg) from error

    def transcribe(path: Path) -> str:
        segments: Iterable[Any] = whisper.transcribe(str(path), language=language)[0]
        return " ".join(segment.text.strip() for segment in segments)

    return transcribe
