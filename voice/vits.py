"""VITS voices, computed by coqui-tts in torch: the English one that comes with the application, and users' own."""

import logging
import threading
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from elysia_chat.voice.engine import check_speakable
from elysia_chat.voice.errors import SynthesisError, VoiceFolderError
from elysia_chat.voice.threads import limit_threads

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio
    from elysia_chat.voice.registry import Voice
    from elysia_chat.voice.vits_text import TextFrontEnd

_log = logging.getLogger(__name__)
_SHORTEST, _LONGEST = 0.25, 4.0


class VitsEngine:
    """Speaks with a VITS network.

    Args:
        model: coqui's `Vits`; its normalised weights are folded here, so it cannot be trained after.
        text: makes ids of a sentence.
        languages: "zh", "en", "ja" and the number of each in the network, None where it has no numbers for them.
        fingerprint: identifies weights, speaker and way of reading.
        speaker: number of the speaker in the network, None where it has but one.
        threads: how many the computation may use.
    """

    def __init__(
        self,
        model: Any,
        text: "TextFrontEnd",
        languages: dict[str, int | None],
        fingerprint: str,
        *,
        speaker: int | None = None,
        threads: int = 1,
    ) -> None:
        from elysia_chat.voice.vits_model import fold_weight_norm

        model.posterior_encoder = None  # learning alone needs it
        fold_weight_norm(model)
        self.languages = frozenset(languages)
        self.sample_rate = int(model.config.audio.sample_rate)
        self.fingerprint = fingerprint
        self._model, self._text, self._numbers, self._threads = model, text, languages, threads
        self._speaker = speaker
        self._length = float(model.length_scale)
        self._computing = threading.Lock()

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> "Audio":
        """Speak a sentence; see `SpeechEngine.synthesize`.

        Raises:
            UnspeakableError: there is nothing to say, or the voice does not have the language.
            MissingProgramError: a program that makes phonemes is not installed.
            SynthesisError: the network failed.
        """
        from elysia_chat.voice.audio import Audio, trim_silence

        check_speakable(self, text, language)
        ids = self._text.ids(text, language)
        try:
            return trim_silence(Audio(self._wave(ids, language, speed), self.sample_rate))
        except (RuntimeError, ValueError, IndexError) as error:
            msg = f"The voice failed on a sentence: {str(error).splitlines()[0]}"
            raise SynthesisError(msg) from error

    def _wave(self, ids: list[int], language: str, speed: float) -> Any:
        import torch

        number = self._numbers[language]
        given = {
            "x_lengths": torch.tensor([len(ids)]),
            "speaker_ids": None if self._speaker is None else torch.tensor([self._speaker]),
            "language_ids": None if number is None else torch.tensor([number]),
        }
        with self._computing, limit_threads(self._threads):
            self._model.length_scale = self._length / min(max(speed, _SHORTEST), _LONGEST)
            made = self._model.inference(torch.tensor([ids]), aux_input=given)
        return made["model_outputs"].reshape(-1).float().numpy()


def load_vits(voice: "Voice", speaker: str | None, threads: int) -> VitsEngine:
    """Load a VITS voice.

    Args:
        voice: a user's, or the built-in one, whose weights are converted first where that has not been done.
        speaker: name of one of its speakers; the first one where None.
        threads: how many the computation may use.

    Raises:
        VoicePackageError: the package of the built-in voice is missing or damaged.
        VoiceFolderError: the voice's folder is incomplete or damaged.
        MissingProgramError: a program that it needs is not installed.
    """
    from elysia_chat.voice import vits_model
    from elysia_chat.voice.vits_readers import front_end, needs_tokenizer

    folder, fingerprint = voice.folder, voice.info.fingerprint
    if folder is None:
        from elysia_chat.voice.piper_joe import IDENTITY, joe_folder

        folder, fingerprint = joe_folder(), IDENTITY
    cleaner = voice.info.cleaner
    model, config = vits_model.load(folder, phonemes=needs_tokenizer(cleaner))
    number = _speaker_number(model, voice, speaker)
    text, languages = front_end(cleaner, config, model, voice.info.languages)
    return VitsEngine(model, text, languages, f"vits {fingerprint} {cleaner} {number}", speaker=number, threads=threads)


def speaker_names(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the names of a network's speakers, in the order of their numbers."""
    return tuple(map(str, config.get("speakers") or ()))


def _speaker_number(model: Any, voice: "Voice", speaker: str | None) -> int | None:
    if not hasattr(model, "emb_g"):
        return None
    names = speaker_names(model.config)
    wanted = speaker if speaker is not None else names[0]
    if wanted not in names:
        msg = f"The voice in {voice.folder} does not know its speaker '{wanted}': remove the voice and add it again."
        raise VoiceFolderError(msg)
    return names.index(wanted)


def known_languages(names: Iterable[str]) -> dict[str, str]:
    """Return those of a voice's languages that can be spoken here, by our name: {"zh": "zh-cn"}.

    Args:
        names: as checkpoints write them: "en-us", "cmn", "ja-jp", "Mandarin".
    """
    beginnings = {
        "en": ("en", "english"),
        "zh": ("zh", "cmn", "mandarin", "chinese", "简体中文"),
        "ja": ("ja", "jp", "japanese", "日本語"),
    }
    found: dict[str, str] = {}
    for name in names:
        first = name.lower().replace("_", "-").partition("-")[0]
        for language, known in beginnings.items():
            if first in known:
                found.setdefault(language, name)
    return found
