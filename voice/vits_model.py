"""A VITS checkpoint in coqui-tts's format: a folder with `config.json` and `model.pth`, written, read and computed.

Nothing of the configuration is taken on trust: only what describes the network is used, paths and class names in it are
never followed, and weights are read as data (`weights_only=True`).
"""

import json
import pickle
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.voice.errors import VoiceFolderError, VoiceImportError
from elysia_chat.voice.espeak import espeak_program
from elysia_chat.voice.torchaudio_standin import import_coqui
from elysia_chat.voice.vits_state import fit

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "config.json", "model.pth"
_SHOWN = 3
# coqui-tts gives every stochastic duration predictor this width; the original that of the text encoder.
_PREDICTOR_WIDTH = 192


@dataclass(frozen=True)
class Symbols:
    """The symbols that a network knows.

    Attributes:
        names: each at the place of its id; None where an id stands for nothing.
        pad: symbol that stands between two others.
        bos: symbol of the beginning, or None.
        eos: symbol of the end, or None.
    """

    names: tuple[str | None, ...]
    pad: str
    bos: str | None = None
    eos: str | None = None

    def config(self) -> dict[str, Any]:
        """Return the part `characters` of a coqui configuration."""
        vocabulary = [name if name is not None else f"<unused{number}>" for number, name in enumerate(self.names)]
        return {
            "characters_class": "elysia_chat.voice.vits_symbols.OrderedSymbols",
            "vocab_dict": vocabulary,
            "pad": self.pad,
            "blank": self.pad,
            "bos": self.bos,
            "eos": self.eos,
            "characters": "",
            "punctuations": "",
            "is_unique": False,
            "is_sorted": False,
        }


def make_config(
    network: Mapping[str, Any],
    symbols: Symbols,
    *,
    sample_rate: int,
    fft_size: int,
    win_size: int,
    speakers: tuple[str, ...] = (),
    **others: Any,
) -> dict[str, Any]:
    """Return a coqui configuration of a converted voice.

    Args:
        network: fields of coqui's `VitsArgs`.
        symbols: what the network reads.
        sample_rate: in Hz.
        fft_size: of the spectrogram, in samples.
        win_size: of its window, in samples.
        speakers: names in the order of their embeddings; none for a voice without such.
        others: further fields of coqui's `VitsConfig`.
    """
    hop = 1
    for rate in network["upsample_rates_decoder"]:
        hop *= int(rate)
    many = {"use_speaker_embedding": bool(speakers)}
    return {
        "model": "vits",
        "model_args": {**network, **many, "num_chars": len(symbols.names), "init_discriminator": False},
        "audio": {"sample_rate": sample_rate, "hop_length": hop, "fft_size": fft_size, "win_length": win_size},
        "characters": symbols.config(),
        "speakers": list(speakers),
        "add_blank": True,
        "text_cleaner": None,
        "use_phonemes": False,
        "test_sentences": [],
        **many,
        **others,
    }


def make_network(config: Mapping[str, Any], tensors: Mapping[str, "torch.Tensor"], source: str, **options: bool) -> Any:
    """Return coqui's `Vits` with its weights, in evaluation mode.

    Args:
        config: the content of `config.json`.
        tensors: under coqui's names.
        source: what to call the tensors in errors.
        options: as in `build`.

    Raises:
        VoiceImportError: the configuration describes no such network, or the tensors are not those of it.
    """
    model = build(config, **options)
    width = tensors.get("duration_predictor.pre.weight")
    if width is not None and model.args.use_sdp and len(width) != _PREDICTOR_WIDTH:
        _narrow_predictor(model, len(width))
    give(model, tensors, source)
    return model


def build(config: Mapping[str, Any], *, phonemes: bool = True, discriminator: bool = False) -> Any:
    """Return coqui's `Vits` for a configuration, its weights random, in evaluation mode.

    Args:
        config: the content of `config.json`.
        discriminator: whether it has the part that training needs.
        phonemes: whether the network's tokenizer makes phonemes where the configuration says so; without, it needs no
            program and takes symbols.

    Raises:
        VoiceImportError: the configuration does not describe such a network.
        MissingProgramError: the program that makes the voice's phonemes is not installed.
    """
    import_coqui("TTS.tts.models.vits")
    from TTS.tts.configs.vits_config import VitsConfig
    from TTS.tts.models.vits import Vits

    content = dict(config) if phonemes else {**config, "use_phonemes": False, "phonemizer": None, "text_cleaner": None}
    made = VitsConfig()
    try:
        made.from_dict(content)
        made.model_args.init_discriminator = discriminator
        model = Vits(made)
    except FileNotFoundError as error:
        # coqui's phonemizer looks for the program when it is made.
        espeak_program()
        msg = f"The voice's {CONFIG} names a file that is not there: {_one_line(error)}."
        raise VoiceImportError(msg) from error
    except (
        TypeError, ValueError, KeyError, AttributeError, AssertionError, RuntimeError, IndexError, ImportError
    ) as error:  # fmt: skip
        msg = f"The voice's {CONFIG} does not describe a VITS network: {_one_line(error)}."
        raise VoiceImportError(msg) from error
    return model.eval()


def save(model: Any, config: Mapping[str, Any], folder: Path) -> None:
    """Write a network and its configuration into a folder, as coqui-tts's own tools read them."""
    import torch

    state = {name: tensor for name, tensor in model.state_dict().items() if not name.startswith("disc.")}
    torch.save({"model": state, "config": dict(config), "step": 0, "epoch": 0}, folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def load(folder: Path, *, phonemes: bool) -> tuple[Any, dict[str, Any]]:
    """Return the network of a voice's folder, ready to speak, and its configuration.

    Args:
        folder: with `config.json` and `model.pth`.
        phonemes: as in `build`.

    Raises:
        VoiceFolderError: a file is missing, damaged, or does not fit the other.
    """
    again = "remove the voice and add it again"
    for name in (CONFIG, WEIGHTS):
        if not (folder / name).is_file():
            msg = f"The voice in {folder} has no {name}: {again}."
            raise VoiceFolderError(msg)
    try:
        config = read_config(folder / CONFIG)
        state = read_weights(folder / WEIGHTS)
        model = make_network(config, state["model"], WEIGHTS, phonemes=phonemes)
    except (VoiceImportError, KeyError) as error:
        msg = f"The voice in {folder} is damaged; {again}: {_one_line(error)}"
        raise VoiceFolderError(msg) from error
    return model, config


def give(model: Any, tensors: Mapping[str, "torch.Tensor"], source: str) -> None:
    """Give a network its weights.

    Args:
        model: coqui's `Vits`.
        tensors: under coqui's names.
        source: what to call them in errors.

    Raises:
        VoiceImportError: tensors that speaking needs are missing, or the shape of some does not fit.
    """
    fitted = fit({name: tensor for name, tensor in tensors.items() if not name.startswith("disc.")}, model.state_dict())
    for names, what in (
        (fitted.missing, "lacks weights of the network"),
        (fitted.misshapen, "has weights of another size than its configuration says"),
        (fitted.unknown, "has weights that this network does not know"),
    ):
        if names:
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            msg = f"{source} {what}: {', '.join(names[:_SHOWN])}{more}."
            raise VoiceImportError(msg)
    model.load_state_dict(fitted.state, assign=True)


def _narrow_predictor(model: Any, width: int) -> None:
    """Give a network a duration predictor of another width, as small voices of the original VITS have."""
    from TTS.tts.layers.vits.stochastic_duration_predictor import StochasticDurationPredictor

    model.duration_predictor = StochasticDurationPredictor(
        model.args.hidden_channels, width, 3, model.args.dropout_p_duration_predictor, 4, model.embedded_speaker_dim
    ).eval()


def read_config(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        VoiceImportError: it cannot be read or is none.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise VoiceImportError(msg) from error
    except ValueError as error:
        msg = f"{path} is not valid JSON: {_one_line(error)}."
        raise VoiceImportError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path} does not hold a JSON object."
        raise VoiceImportError(msg)
    return content


def read_weights(path: Path) -> dict[str, Any]:
    """Read a checkpoint as data: a file that would run code is refused.

    Raises:
        VoiceImportError: it is damaged, no checkpoint, or holds more than data.
    """
    import torch

    try:
        # Optimisers' states in checkpoints of coqui's trainer are such dictionaries.
        with torch.serialization.safe_globals([defaultdict]):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except (FileNotFoundError, PermissionError, IsADirectoryError) as error:
        msg = f"{path} cannot be read: {error.strerror}."
        raise VoiceImportError(msg) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        msg = f"{path} is damaged, or no PyTorch checkpoint of plain weights; it was not loaded."
        raise VoiceImportError(msg) from error
    if not isinstance(content, dict) or not isinstance(content.get("model"), dict):
        msg = f"{path} has no key 'model' with the weights: it is no checkpoint of a VITS voice."
        raise VoiceImportError(msg)
    tensors = {name: value for name, value in content["model"].items() if isinstance(value, torch.Tensor)}
    return {**content, "model": tensors}


def fold_weight_norm(model: Any) -> None:
    """Compute normalised weights once instead of in every call; the network can only speak after this."""
    from torch.nn.utils import parametrize

    for module in list(model.modules()):
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight")


def _one_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
