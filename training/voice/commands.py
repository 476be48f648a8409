"""What the front ends call: from a folder of recordings to a voice."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.training.voice.errors import VoiceRunError
from elysia_chat.training.voice.fit import BaseVoice, Progress, VoiceRun, VoiceTraining, train_voice
from elysia_chat.training.voice.preparation import Prepared, prepare
from elysia_chat.training.voice.recordings import read_recordings, transcriber

__all__ = ["Made", "VoiceTraining", "make_voice"]

DATA = "data"
_SAMPLES = {
    "zh": ("你好，很高兴认识你。", "今天的天气真好，我们一起去散步吧。"),
    "en": ("Hello, it is nice to meet you.", "What a lovely day; let us go for a walk."),
    "ja": ("こんにちは、はじめまして。", "今日はいい天気ですね。"),
}


@dataclass(frozen=True)
class Made:
    """What became of the recordings.

    Attributes:
        report: of the check: how many are used, how many seconds, what is wrong with which.
        run: of the training; None where the recordings were checked alone.
    """

    report: dict[str, Any]
    run: VoiceRun | None


def make_voice(
    recordings: Path,
    out: Path,
    training: VoiceTraining,
    *,
    base: str = "joe",
    speaker: str | None = None,
    language: str | None = None,
    recogniser: str | None = None,
    resume: bool = False,
    check: bool = False,
    progress: Progress | None = None,
) -> Made:
    """Check and prepare recordings, and train a voice on them.

    Args:
        recordings: folder with `metadata.csv` and sounds, or with sounds alone.
        out: folder for everything that is made.
        training: how to train.
        base: name of the voice that is trained further.
        speaker: of the base, where it has several.
        language: of the recordings; the base's first one where None.
        recogniser: Whisper model that writes down recordings without text.
        resume: go on from the newest checkpoint in `out`.
        check: end after the check.
        progress: told of each epoch.

    Raises:
        RecordingsError: the recordings cannot be used.
        VoiceRunError: the base cannot be trained, or there is nothing to resume from.
        DivergedError: a loss is no longer a number.
        VoiceError: the base voice is unknown or damaged, or a program that makes its phonemes is missing.
    """
    voice = _base(base, speaker)
    spoken = language or voice.info.languages[0]
    if spoken not in voice.info.languages:
        msg = f"The voice '{base}' reads {', '.join(voice.info.languages)}, not '{spoken}'; choose another with --base."
        raise VoiceRunError(msg)
    read = _reader(voice, spoken)
    found = read_recordings(recordings)
    silent = [recording for recording in found if not recording.text]
    transcribe = (
        transcriber(recogniser or "small", spoken) if silent and (recogniser or len(silent) == len(found)) else None
    )
    prepared: Prepared = prepare(found, out / DATA, voice.info.sample_rate, read, transcribe)
    run = None
    if not check:
        samples = tuple(read(sentence) for sentence in _SAMPLES[spoken])
        run = train_voice(voice, prepared, out, training, resume=resume, samples=samples, progress=progress)
    return Made(prepared.summary(), run)


def _base(name: str, speaker: str | None) -> BaseVoice:
    from elysia_chat.voice.registry import find_voice

    voice = find_voice(name)
    if voice.info.kind != "vits":
        msg = f"The voice '{name}' is no VITS voice: only such can be trained. Choose another with --base."
        raise VoiceRunError(msg)
    if speaker is not None and speaker not in voice.info.speakers:
        msg = f"The voice '{name}' has no speaker '{speaker}'; it has: {', '.join(voice.info.speakers) or 'only one'}."
        raise VoiceRunError(msg)
    folder = voice.folder
    if folder is None:
        from elysia_chat.voice.piper_joe import joe_folder

        folder = joe_folder()
    return BaseVoice(voice.info, folder, speaker or voice.info.speaker)


def _reader(voice: BaseVoice, language: str) -> Callable[[str], str]:
    """Return what turns a transcript into the symbols that the voice knows, "" where it knows none."""
    from elysia_chat.voice.speech_text import speakable
    from elysia_chat.voice.vits_model import CONFIG, read_config
    from elysia_chat.voice.vits_readers import COQUI, symbol_reader

    def spoken(text: str) -> str:
        return " ".join(piece.text for piece in speakable(text, language))

    if voice.info.cleaner == COQUI:
        return spoken
    config = read_config(voice.folder / CONFIG)
    symbols, known = symbol_reader(voice.info.cleaner, config), set(config["characters"]["vocab_dict"])

    def read(text: str) -> str:
        found = "".join(symbol for symbol in symbols(spoken(text), language) if symbol in known)
        return found if any(symbol.isalpha() for symbol in found) else ""

    return read
