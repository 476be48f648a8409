"""VITS checkpoints of coqui-tts's own trainer, as users bring them.

Their configuration names files of the machine that they were trained on, classes to import and programs to call. Only
what describes the network and its text is taken over; the names in it are looked up in lists.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.voice.errors import VoiceImportError
from elysia_chat.voice.torchaudio_standin import import_coqui
from elysia_chat.voice.vits import known_languages
from elysia_chat.voice.vits_model import read_config, read_weights

_CHARACTER_CLASSES = (
    "TTS.tts.models.vits.VitsCharacters",
    "TTS.tts.utils.text.characters.Graphemes",
    "TTS.tts.utils.text.characters.IPAPhonemes",
    "elysia_chat.voice.vits_symbols.OrderedSymbols",
)
_PHONEMIZERS = ("espeak", "gruut", "ja_jp_phonemizer", "zh_cn_phonemizer", "multi_phonemizer")
_KEPT = (
    "use_phonemes", "phonemizer", "phoneme_language", "text_cleaner", "enable_eos_bos_chars", "add_blank",
    "use_speaker_embedding", "speaker_embedding_channels",
)  # fmt: skip
_KEPT_AUDIO = ("sample_rate", "fft_size", "win_length", "hop_length", "num_mels", "mel_fmin", "mel_fmax")
# Of the trainer's machine, or of use in training alone.
_DROPPED_ARGUMENTS = {
    "speakers_file": None,
    "language_ids_file": None,
    "d_vector_file": None,
    "use_speaker_encoder_as_loss": False,
    "speaker_encoder_config_path": "",
    "speaker_encoder_model_path": "",
    "init_discriminator": False,
    "reinit_DP": False,
    "reinit_text_encoder": False,
}
_CLEANER_LANGUAGES = {"english_cleaners": "en", "phoneme_cleaners": "en", "chinese_mandarin_cleaners": "zh"}


@dataclass(frozen=True)
class CoquiVoice:
    """What a checkpoint of coqui-tts holds.

    Attributes:
        config: what of its configuration is used.
        tensors: weights, by coqui's names.
        languages: of "zh", "en", "ja"; none where the configuration does not tell.
        speakers: their names in order; none where there is one.
    """

    config: dict[str, Any]
    tensors: dict[str, Any]
    languages: tuple[str, ...]
    speakers: tuple[str, ...]


def read_coqui(weights_path: Path, config_path: Path) -> CoquiVoice:
    """Read a checkpoint of coqui-tts.

    Args:
        weights_path: `best_model.pth`, `checkpoint_*.pth` or `model.pth`.
        config_path: its configuration.

    Raises:
        VoiceImportError: a file is missing, damaged, or of something else; the message names the file and the key.
    """
    content = read_config(config_path)
    if str(content.get("model", "")).lower() != "vits":
        msg = f"{config_path}: model is '{content.get('model')}'; of coqui-tts's models VITS alone can be taken over."
        raise VoiceImportError(msg)
    arguments = _arguments(content, config_path)
    tensors = {
        name: value
        for name, value in read_weights(weights_path)["model"].items()
        if not name.startswith(("disc.", "speaker_encoder.", "audio_transform."))
    }
    speakers = _names(content, arguments, "speakers", config_path.parent)
    speakers = _numbered(speakers, tensors.get("emb_g.weight"), "speakers", config_path)
    languages = _names(content, arguments, "language_ids", config_path.parent) or tuple(content.get("languages") or ())
    languages = _numbered(languages, tensors.get("emb_l.weight"), "languages", config_path)
    config = {key: content[key] for key in _KEPT if content.get(key) is not None}
    config |= {
        "model": "vits",
        "model_args": arguments,
        "audio": {key: value for key, value in (content.get("audio") or {}).items() if key in _KEPT_AUDIO},
        "characters": _characters(content, config_path),
        "speakers": list(speakers),
        "languages": list(languages),
        "datasets": _datasets(content),
        "test_sentences": [],
        "use_speaker_embedding": bool(speakers),
    }
    config["model_args"]["use_speaker_embedding"] = bool(speakers)
    _check_text(config, config_path)
    return CoquiVoice(config, tensors, _languages(config), speakers)


def _arguments(content: Mapping[str, Any], path: Path) -> dict[str, Any]:
    given = content.get("model_args")
    if not isinstance(given, dict):
        msg = f"{path}: model_args is missing; this is no complete configuration of coqui-tts."
        raise VoiceImportError(msg)
    if given.get("use_d_vector_file") or content.get("use_d_vector_file"):
        msg = (
            f"{path}: use_d_vector_file: this voice takes its speakers from d-vector files, which cannot be taken over."
        )
        raise VoiceImportError(msg)
    known = {item.name for item in dataclasses.fields(import_coqui("TTS.tts.configs.vits_config").VitsArgs)}
    return {key: value for key, value in given.items() if key in known} | _DROPPED_ARGUMENTS


def _names(content: Mapping[str, Any], arguments: Mapping[str, Any], what: str, folder: Path) -> tuple[str, ...]:
    """Return names of speakers or languages, from the configuration or a file beside it, in order of their numbers."""
    listed = content.get(what)
    if isinstance(listed, list) and listed:
        return tuple(map(str, listed))
    given = (content.get("model_args") or {}).get(f"{what}_file") or content.get(f"{what}_file")
    # The path is of the machine that the voice was trained on; the file usually lies beside the configuration.
    wanted = [Path(str(given).replace("\\", "/")).name] if given else []
    for name in (*wanted, f"{what}.json", f"{what}.pth"):
        path = folder / name
        if path.is_file():
            table = _table(path)
            return tuple(sorted(table, key=lambda key: table[key]))
    return ()


def _table(path: Path) -> dict[str, int]:
    if path.suffix == ".json":
        content: Any = read_config(path)
    else:
        import pickle

        import torch

        try:
            content = torch.load(path, map_location="cpu", weights_only=True)
        except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
            msg = f"{path} is damaged, or holds more than names; it was not loaded."
            raise VoiceImportError(msg) from error
    if not isinstance(content, dict) or not all(isinstance(number, int) for number in content.values()):
        msg = f"{path} does not give numbers to names."
        raise VoiceImportError(msg)
    return {str(name): number for name, number in content.items()}


def _numbered(names: Sequence[str], embedding: Any, what: str, path: Path) -> tuple[str, ...]:
    """Return as many names as an embedding has rows."""
    size = 0 if embedding is None else len(embedding)
    if len(names) > size > 0:
        msg = f"{path}: {len(names)} {what} are named, but the checkpoint knows {size}: they do not belong together."
        raise VoiceImportError(msg)
    return (*names, *(str(number) for number in range(len(names), size))) if size else ()


def _characters(content: Mapping[str, Any], path: Path) -> dict[str, Any] | None:
    given = content.get("characters")
    if given is None:
        return None
    if not isinstance(given, dict) or given.get("characters_class") not in (None, *_CHARACTER_CLASSES):
        name = given.get("characters_class") if isinstance(given, dict) else given
        msg = f"{path}: characters.characters_class '{name}' is not one of coqui-tts's own; it was not imported."
        raise VoiceImportError(msg)
    return dict(given)


def _datasets(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return languages and phonemizers of the data, which coqui's tokenizer for several languages looks up."""
    given = content.get("datasets")
    return [
        {key: str(item[key]) for key in ("language", "phonemizer") if item.get(key)}
        for item in (given if isinstance(given, list) else ())
        if isinstance(item, dict) and item.get("language")
    ]


def _check_text(config: Mapping[str, Any], path: Path) -> None:
    import_coqui("TTS.tts.models.vits")
    from TTS.tts.utils.text import cleaners

    cleaner = config.get("text_cleaner")
    if cleaner is not None and not (
        isinstance(cleaner, str) and cleaner.endswith("_cleaners") and callable(getattr(cleaners, cleaner, None))
    ):
        msg = f"{path}: text_cleaner '{cleaner}' is not one of coqui-tts's own."
        raise VoiceImportError(msg)
    phonemizer = config.get("phonemizer")
    if phonemizer is not None and phonemizer not in _PHONEMIZERS:
        msg = f"{path}: phonemizer '{phonemizer}' is not supported; supported: {', '.join(_PHONEMIZERS)}."
        raise VoiceImportError(msg)


def _languages(config: Mapping[str, Any]) -> tuple[str, ...]:
    told = [*config["languages"]] or [str(config.get("phoneme_language") or "")]
    found = known_languages(told) or known_languages(item["language"] for item in config["datasets"])
    if found:
        return tuple(found)
    letters = "".join(str((config["characters"] or {}).get(key) or "") for key in ("characters", "punctuations"))
    if any("\u3040" <= letter <= "\u30ff" for letter in letters):
        return ("ja",)
    if any("\u4e00" <= letter <= "\u9fff" for letter in letters):
        return ("zh",)
    hinted = _CLEANER_LANGUAGES.get(str(config.get("text_cleaner")))
    return (hinted,) if hinted else ()
