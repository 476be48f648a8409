"""Checkpoints of the original VITS, as fans' tools (VITS-fast-fine-tuning and its relatives) write them, to coqui-tts.

Such a voice is a generator `G_*.pth` with a configuration in JSON: `data` and `model` describe the network, `speakers`
names its speakers, `symbols` what it reads; the name of a text cleaner says how text becomes symbols.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elysia_chat.voice.cleaners import Cleaner, cleaner_names, find_cleaner
from elysia_chat.voice.errors import VoiceImportError
from elysia_chat.voice.vits_model import Symbols, make_config, read_config, read_weights
from elysia_chat.voice.vits_state import coqui_name, count

_NOISE, _NOISE_OF_LENGTHS = 0.667, 0.8
# The symbols of the first English models, which their configurations do not repeat.
_ENGLISH_SYMBOLS = (
    '_;:,.!?¡¿—…"«»“” ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
    "ɑɐɒæɓʙβɔɕçɗɖðʤəɘɚɛɜɝɞɟʄɡɠɢʛɦɧħɥʜɨɪʝɭɬɫɮʟɱɯɰŋɳɲɴøɵɸθœɶʘɹɺɾɻʀʁɽʂʃʈʧʉʊʋⱱʌɣɤʍχʎʏʑʐʒʔʡʕʢǀǁǂǃˈˌːˑʼʴʰʱʲʷˠˤ˞"
    "↓↑→↗↘'̩'ᵻ"
)


@dataclass(frozen=True)
class OriginalVoice:
    """What a checkpoint of the original VITS holds.

    Attributes:
        config: coqui configuration of the same network.
        tensors: weights, by coqui's names.
        cleaner: what makes symbols of text.
        speakers: their names in order; none where there is one.
    """

    config: dict[str, Any]
    tensors: dict[str, Any]
    cleaner: Cleaner
    speakers: tuple[str, ...]


def read_original(weights_path: Path, config_path: Path) -> OriginalVoice:
    """Read a voice of the original VITS.

    Args:
        weights_path: the generator, `G_*.pth`.
        config_path: its configuration.

    Raises:
        VoiceImportError: a file is missing, damaged, or of something else; the message names the file and the key.
    """
    about = _Configuration(config_path)
    state = read_weights(weights_path)["model"]
    if "enc_p.emb.weight" not in state:
        what = "the discriminator; take G_*.pth" if any("discriminators" in name for name in state) else "another model"
        msg = f"{weights_path} is no generator of a VITS voice (it lacks enc_p.emb.weight), but {what}."
        raise VoiceImportError(msg)
    if any(".spk_emb" in name or name.startswith(("enc_p.bert", "enc_p.tone_emb")) for name in state):
        msg = f"{weights_path} is of a relative of VITS (such as Bert-VITS2), whose voices cannot be taken over."
        raise VoiceImportError(msg)
    symbols = about.symbols(len(state["enc_p.emb.weight"]))
    cleaner = about.cleaner(symbols)
    speakers = about.speakers(len(state["emb_g.weight"]) if "emb_g.weight" in state else 0)
    config = make_config(
        {**about.network(state), "inference_noise_scale": _NOISE, "inference_noise_scale_dp": _NOISE_OF_LENGTHS},
        symbols,
        sample_rate=about.whole("data.sampling_rate"),
        fft_size=about.whole("data.filter_length"),
        win_size=about.whole("data.win_length"),
        speakers=speakers,
        add_blank=about.add_blank,
    )
    return OriginalVoice(config, {coqui_name(name): value for name, value in state.items()}, cleaner, speakers)


class _Configuration:
    """The JSON beside a checkpoint."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = read_config(path)
        self.add_blank = bool(self._find("data.add_blank", True))

    def whole(self, key: str) -> int:
        """Return a whole number above 0."""
        value = self._get(key)
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            self._refuse(key, f"must be a whole number above 0, not {value!r}")
        return int(value)

    def symbols(self, size: int) -> Symbols:
        """Return the symbols of a network that knows so many."""
        names: Any = self._find("symbols")
        if names is None and size == len(_ENGLISH_SYMBOLS):
            names = list(_ENGLISH_SYMBOLS)
        if names is None:
            self._refuse("symbols", f"is missing: the list of the {size} symbols that the voice was trained with")
        if not isinstance(names, list | str) or not all(isinstance(name, str) and len(name) == 1 for name in names):
            self._refuse("symbols", "must be a list of single characters")
        if len(names) != size:
            self._refuse("symbols", f"lists {len(names)}, but the checkpoint knows {size}: they do not belong together")
        return Symbols(tuple(names), names[0])

    def cleaner(self, symbols: Symbols) -> Cleaner:
        """Return what makes symbols of text."""
        names = self._get("data.text_cleaners")
        name = names[0] if isinstance(names, list) and names else names
        found = find_cleaner(str(name), [symbol for symbol in symbols.names if symbol])
        if found is None:
            msg = (
                f"{self._path}: data.text_cleaners: '{name}' is not supported; supported: {', '.join(cleaner_names())}."
            )
            raise VoiceImportError(msg)
        return found

    def speakers(self, size: int) -> tuple[str, ...]:
        """Return the names of so many speakers; numbers where the configuration has no names."""
        table = self._find("speakers")
        names = [str(number) for number in range(size)]
        if isinstance(table, list):
            table = {name: number for number, name in enumerate(table)}
        for name, number in table.items() if isinstance(table, dict) else ():
            if isinstance(number, int) and 0 <= number < size and name not in names:
                names[number] = str(name)
        return tuple(names)

    def network(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return coqui's `VitsArgs` of the network; what its tensors tell is taken from them."""
        return {
            "out_channels": self.whole("data.filter_length") // 2 + 1,
            "hidden_channels": self.whole("model.hidden_channels"),
            "hidden_channels_ffn_text_encoder": self.whole("model.filter_channels"),
            "num_heads_text_encoder": self.whole("model.n_heads"),
            "num_layers_text_encoder": self.whole("model.n_layers"),
            "kernel_size_text_encoder": self.whole("model.kernel_size"),
            "num_layers_flow": count(state, r"flow\.flows\.0\.enc\.in_layers\.(\d+)\."),
            "num_layers_posterior_encoder": count(state, r"enc_q\.enc\.in_layers\.(\d+)\.") or 16,
            "use_sdp": any(name.startswith("dp.flows.") for name in state),
            "resblock_type_decoder": str(self._get("model.resblock")),
            "resblock_kernel_sizes_decoder": self._numbers("model.resblock_kernel_sizes"),
            "resblock_dilation_sizes_decoder": self._numbers("model.resblock_dilation_sizes"),
            "upsample_rates_decoder": self._numbers("model.upsample_rates"),
            "upsample_initial_channel_decoder": self.whole("model.upsample_initial_channel"),
            "upsample_kernel_sizes_decoder": self._numbers("model.upsample_kernel_sizes"),
            **({"speaker_embedding_channels": state["emb_g.weight"].shape[1]} if "emb_g.weight" in state else {}),
        }

    def _numbers(self, key: str) -> list[Any]:
        value = self._get(key)
        if not isinstance(value, list) or not value:
            self._refuse(key, f"must be a list of numbers, not {value!r}")
        return list(value)

    def _find(self, key: str, default: Any = None) -> Any:
        value: Any = self._content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return default if value is None else value

    def _get(self, key: str) -> Any:
        value = self._find(key)
        if value is None:
            self._refuse(key, "is missing; this is no complete configuration of a VITS voice")
        return value

    def _refuse(self, key: str, why: str) -> None:
        msg = f"{self._path}: {key} {why}."
        raise VoiceImportError(msg)
