"""Taking a user's voice over into the data folder, and removing it again."""

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from filelock import FileLock
from pydantic import ValidationError

from elysia_chat.configs.paths import ensure_dir, voices_dir
from elysia_chat.voice.engine import Language
from elysia_chat.voice.errors import UnknownVoiceError, VoiceImportError
from elysia_chat.voice.registry import BUILT_IN, VOICE_FILE, Voice, VoiceInfo, find_voice
from elysia_chat.voice.vits_files import VoiceFiles, find_files
from elysia_chat.voice.vits_readers import COQUI, ESPEAK, LETTERS

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio

TEST_SENTENCES: dict[str, str] = {
    "zh": "你好，很高兴认识你。",
    "en": "Hello, it is nice to meet you.",
    "ja": "こんにちは、はじめまして。",
}
_SHOWN_NAMES = 20


@dataclass(frozen=True)
class AddedVoice:
    """A voice that has been taken over.

    Attributes:
        voice: as it can be loaded from now on.
        form: whose files it came in: "coqui", "original" or "piper".
        language: of the test sentence.
        text: the test sentence.
        audio: how the voice speaks it.
    """

    voice: Voice
    form: str
    language: str
    text: str
    audio: "Audio"


@dataclass(frozen=True)
class _Read:
    config: dict[str, Any]
    tensors: dict[str, Any]
    cleaner: str
    languages: tuple[str, ...]
    speakers: tuple[str, ...]


def add_voice(
    path: Path,
    *,
    name: str | None = None,
    speaker: str | None = None,
    languages: Sequence[str] = (),
    replace: bool = False,
) -> AddedVoice:
    """Convert a voice into the data folder and let it speak a sentence; nothing stays where that fails.

    Args:
        path: of its weights, or of the folder with its files.
        name: to call it by; the name of its folder or file where None.
        speaker: who speaks where none is asked for; the first of its speakers where None.
        languages: what it speaks, where its files do not tell or tell more than is wanted.
        replace: take the place of a voice of the same name.

    Raises:
        VoiceImportError: the files are no voice that can be taken over; the message names the file and what is wrong.
        UnknownVoiceError: it has no such speaker.
        VoiceError: it cannot speak: a package or program is missing, or it failed on the test sentence.
        FolderNotWritableError: the data folder cannot be written.
    """
    files = find_files(path.expanduser())
    called = _name(name, path, replace)
    read = _read(files)
    spoken = _languages(read, languages, files)
    chosen = _speaker(read.speakers, speaker)
    info = VoiceInfo(
        name=called,
        kind="vits",
        languages=spoken,
        speakers=tuple(item for item in read.speakers if not item.isdigit()) or read.speakers,
        speaker=chosen,
        sample_rate=int(read.config["audio"]["sample_rate"]),
        cleaner=read.cleaner,
        source=f"{files.form}: {files.weights.name}",
        fingerprint=_digest(files.weights),
    )
    return _write(info, read, files)


def remove_voice(name: str) -> Path:
    """Remove a voice of the user's, whole or broken; returns the folder that is gone.

    Raises:
        VoiceImportError: it comes with the application.
        UnknownVoiceError: there is none of this name.
    """
    if name in BUILT_IN:
        msg = f"The voice '{name}' comes with the application and cannot be removed."
        raise VoiceImportError(msg)
    folder = voices_dir() / name
    if name != folder.name or name.startswith(".") or not folder.is_dir():
        folder = find_voice(name).folder or folder
    with FileLock(ensure_dir(voices_dir()) / ".lock"):
        _discard(folder)
    return folder


def _name(name: str | None, path: Path, replace: bool) -> str:
    found = path.expanduser().resolve()
    if name is None:
        # A checkpoint is called G_1000 or best_model; the folder's name says more.
        generic = found.is_file() and re.match(r"(G_|best_model|checkpoint_|model$)", found.stem)
        name = re.sub(r"[^\w.-]+", "-", found.parent.name if generic else found.stem if found.is_file() else found.name)
        name = name.strip("-.") or "voice"
    if not re.fullmatch(r"\w[\w.-]{0,63}", name):
        msg = f"'{name}' cannot be a voice's name: letters, digits, '-', '_' and '.' only. Give another with --name."
        raise VoiceImportError(msg)
    if name in BUILT_IN:
        msg = f"The name '{name}' is that of a built-in voice; give another with --name."
        raise VoiceImportError(msg)
    if (voices_dir() / name).exists() and not replace:
        msg = f"There is a voice '{name}' already; give another name with --name, or replace it with --replace."
        raise VoiceImportError(msg)
    return name


def _read(files: VoiceFiles) -> _Read:
    if files.form == "piper":
        from elysia_chat.voice.piper import read_piper
        from elysia_chat.voice.vits import known_languages

        piper = read_piper(files.weights, files.config)
        cleaner = ESPEAK if piper.reader == "espeak" else LETTERS
        return _Read(piper.config, piper.tensors, cleaner, tuple(known_languages([piper.language])), piper.speakers)
    if files.form == "original":
        from elysia_chat.voice.original_vits import read_original

        original = read_original(files.weights, files.config)
        name = original.cleaner.name.partition(" ")[0]
        return _Read(original.config, original.tensors, name, original.cleaner.languages, original.speakers)
    from elysia_chat.voice.vits_coqui import read_coqui

    coqui = read_coqui(files.weights, files.config)
    if (files.config.parent / VOICE_FILE).is_file():
        # A folder of this application's own, such as training writes: it says what reads the voice's text.
        own = _own_info(files.config.parent / VOICE_FILE)
        return _Read(coqui.config, coqui.tensors, own.cleaner, own.languages, coqui.speakers)
    return _Read(coqui.config, coqui.tensors, COQUI, coqui.languages, coqui.speakers)


def _own_info(path: Path) -> VoiceInfo:
    try:
        return VoiceInfo.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        msg = f"{path} does not describe a voice: remove it to have config.json read alone."
        raise VoiceImportError(msg) from error


def _languages(read: _Read, wanted: Sequence[str], files: VoiceFiles) -> tuple[Language, ...]:
    known: tuple[Language, ...] = get_args(Language)
    names = tuple(wanted) or read.languages
    unknown = [name for name in names if name not in known]
    if unknown:
        msg = f"'{unknown[0]}' is no language that is spoken here; there are: {', '.join(known)}."
        raise VoiceImportError(msg)
    # Only coqui's tokenizer may be able to read more than the configuration tells.
    missing = [name for name in names if name not in read.languages and read.cleaner != COQUI]
    if missing and read.languages:
        msg = f"This voice cannot read '{missing[0]}'; it reads: {', '.join(read.languages)}."
        raise VoiceImportError(msg)
    if not names:
        told = read.config.get("phoneme_language") or "nothing"
        msg = (
            f"{files.config} tells of no language that is spoken here (it tells of: {told}). "
            f"If it is one of {', '.join(known)}, say so with --language."
        )
        raise VoiceImportError(msg)
    return tuple(language for name in names for language in known if language == name)


def _speaker(speakers: Sequence[str], wanted: str | None) -> str | None:
    if wanted is not None and wanted not in speakers:
        named = [name for name in speakers if not name.isdigit()] or list(speakers)
        more = f" and {len(named) - _SHOWN_NAMES} more" if len(named) > _SHOWN_NAMES else ""
        known = ", ".join(named[:_SHOWN_NAMES]) + more if named else "only one, without a name"
        msg = f"This voice has no speaker '{wanted}'; it has: {known}."
        raise UnknownVoiceError(msg)
    # Numbers stand for speakers that nobody has named.
    return wanted or next((name for name in speakers if not name.isdigit()), speakers[0] if speakers else None)


def _write(info: VoiceInfo, read: _Read, files: VoiceFiles) -> AddedVoice:
    """Write the folder under a hidden name, let the voice speak from it, and only then rename it."""
    from elysia_chat.voice import vits_model
    from elysia_chat.voice.vits import load_vits
    from elysia_chat.voice.vits_readers import needs_tokenizer

    language = info.languages[0]
    folder = voices_dir() / info.name
    with (
        FileLock(ensure_dir(voices_dir()) / ".lock"),
        tempfile.TemporaryDirectory(dir=voices_dir(), prefix=".adding-") as temporary,
    ):
        made = Path(temporary) / info.name
        made.mkdir()
        model = vits_model.make_network(
            read.config, read.tensors, str(files.weights), phonemes=needs_tokenizer(info.cleaner)
        )
        vits_model.save(model, read.config, made)
        (made / VOICE_FILE).write_text(info.model_dump_json(indent=2) + "\n", encoding="utf-8")
        audio = load_vits(Voice(info, made), info.speaker, 1).synthesize(TEST_SENTENCES[language], language=language)
        if audio.seconds == 0:
            msg = f"The voice in {files.weights} makes no sound: its weights are not trained, or damaged."
            raise VoiceImportError(msg)
        if folder.exists():
            _discard(folder)
        made.rename(folder)
    return AddedVoice(Voice(info, folder), files.form, language, TEST_SENTENCES[language], audio)


def _discard(folder: Path) -> None:
    """Take a folder away at once, then delete what was in it."""
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".removing-") as temporary:
        folder.rename(Path(temporary) / folder.name)


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
