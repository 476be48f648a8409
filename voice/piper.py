"""Piper voices: an ONNX file, and its JSON, to a VITS checkpoint of coqui-tts.

A Piper voice is a VITS network without the parts that training alone needs. Its tensors keep their names where they
are stored as they were trained; where normalisation was folded into a convolution the exporter has numbered the
weight, but its bias still tells whose it is. The sizes of the network are read off its tensors.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elysia_chat.voice.errors import VoiceImportError
from elysia_chat.voice.vits_model import Symbols, make_config, read_config
from elysia_chat.voice.vits_state import coqui_name, count

_FFT_SIZE = 1024
_PAD, _BOS, _EOS = "_", "^", "$"
_RESIDUAL_DILATIONS = {"1": 3, "2": 2}
_KEPT_NAME = re.compile(r"(\.(gamma|beta|emb_rel_[kv]|weight|bias)|^dp\.flows\.0\.(m|logs))$")
# Of the duration predictor's first flow the exporter computes -logs beforehand, or exp(-logs) as well.
_EXPONENTIAL = "/dp/flows.0/Exp_output_0"


@dataclass(frozen=True)
class PiperVoice:
    """What a Piper voice holds.

    Attributes:
        config: coqui configuration of the same network.
        tensors: weights, by coqui's names.
        language: of its text, as espeak-ng names it.
        reader: "espeak" where the network reads phonemes, "text" where letters.
        speakers: their names in order; none where there is one.
    """

    config: dict[str, Any]
    tensors: dict[str, Any]
    language: str
    reader: str
    speakers: tuple[str, ...]


def read_piper(onnx_path: Path, json_path: Path) -> PiperVoice:
    """Read a Piper voice.

    Args:
        onnx_path: the network.
        json_path: its description, usually the same name with `.json` after it.

    Raises:
        VoiceImportError: a file is missing, damaged, or of something else; the message names the file and the key.
    """
    import torch

    about = _Description(json_path)
    graph = _Graph(onnx_path)
    tensors = graph.tensors()
    speakers = about.speakers(0 if "emb_g.weight" not in tensors else len(tensors["emb_g.weight"]))
    network = _network(tensors, graph.settings, onnx_path)
    symbols = about.symbols(len(tensors["enc_p.emb.weight"]))
    scales = about.scales()
    config = make_config(
        {**network, **scales},
        symbols,
        sample_rate=about.sample_rate,
        fft_size=_FFT_SIZE,
        win_size=_FFT_SIZE,
        speakers=speakers,
        enable_eos_bos_chars=True,
        use_phonemes=about.reader == "espeak",
        phonemizer="espeak" if about.reader == "espeak" else None,
        phoneme_language=about.language,
    )
    named = {coqui_name(name): torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    return PiperVoice(config, named, about.language, about.reader, speakers)


class _Description:
    """The JSON beside a Piper network."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._content = read_config(path)
        self.sample_rate = int(self._number("audio.sample_rate"))
        self.reader = str(self._content.get("phoneme_type", "espeak"))
        if self.reader not in ("espeak", "text"):
            msg = (
                f"{path}: phoneme_type '{self.reader}' is not supported; voices that read espeak phonemes or plain "
                "text are."
            )
            raise VoiceImportError(msg)
        self.language = str(self._get("espeak.voice"))

    def symbols(self, size: int) -> Symbols:
        """Return the symbols of a network with an embedding of so many rows."""
        table = self._get("phoneme_id_map")
        names: list[str | None] = [None] * size
        for symbol, numbers in table.items() if isinstance(table, dict) else ():
            if not (isinstance(numbers, list) and len(numbers) == 1 and isinstance(numbers[0], int)):
                self._refuse("phoneme_id_map", f"'{symbol}' must stand for one number")
            if not 0 <= numbers[0] < size:
                self._refuse("phoneme_id_map", f"'{symbol}' is number {numbers[0]}, but the network knows {size}")
            names[numbers[0]] = symbol
        for needed in (_PAD, _BOS, _EOS):
            if needed not in names:
                self._refuse("phoneme_id_map", f"'{needed}' is missing")
        return Symbols(tuple(names), _PAD, _BOS, _EOS)

    def speakers(self, size: int) -> tuple[str, ...]:
        """Return the names of so many speakers."""
        table = self._content.get("speaker_id_map") or {}
        names = [str(number) for number in range(size)]
        for name, number in table.items() if size and isinstance(table, dict) else ():
            if isinstance(number, int) and 0 <= number < size:
                names[number] = str(name)
        return tuple(names)

    def scales(self) -> dict[str, float]:
        """Return how much chance there is in sound and in length, and how slow the voice is."""
        return {
            "inference_noise_scale": self._number("inference.noise_scale", 0.667),
            "inference_noise_scale_dp": self._number("inference.noise_w", 0.8),
            "length_scale": self._number("inference.length_scale", 1.0),
        }

    def _number(self, key: str, default: float | None = None) -> float:
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float) or value < 0:
            self._refuse(key, "must be a number")
        return float(value)

    def _get(self, key: str, default: Any = None) -> Any:
        value: Any = self._content
        for part in key.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is None and default is None:
            self._refuse(key, "is missing; this is no description of a Piper voice")
        return default if value is None else value

    def _refuse(self, key: str, why: str) -> None:
        msg = f"{self._path}: {key} {why}."
        raise VoiceImportError(msg)


class _Graph:
    """The network of a Piper voice.

    Attributes:
        settings: strides and dilations of each convolution, by its name.
    """

    def __init__(self, path: Path) -> None:
        import onnx
        from google.protobuf.message import DecodeError

        self._path = path
        self.settings: dict[str, dict[str, list[int]]] = {}
        try:
            self._graph = onnx.load(str(path), load_external_data=False).graph
        except OSError as error:
            msg = f"{path} cannot be read: {error.strerror}."
            raise VoiceImportError(msg) from error
        except (DecodeError, ValueError) as error:
            msg = f"{path} is damaged, or no ONNX file."
            raise VoiceImportError(msg) from error

    def tensors(self) -> dict[str, Any]:
        """Return the network's tensors by the names that the original VITS gives them.

        Raises:
            VoiceImportError: the file holds another network.
        """
        stored = self._stored()
        found: dict[str, Any] = {name: value for name, value in stored.items() if _KEPT_NAME.search(name)}
        for node in self._graph.node:
            if node.op_type in ("Conv", "ConvTranspose") and node.input[1] in stored:
                self._convolution(node, stored, found)
            elif node.op_type == "Gather" and node.input[1] == "input":
                found["enc_p.emb.weight"] = stored.get(node.input[0])
            elif node.op_type == "Gather" and node.input[1] == "sid":
                found["emb_g.weight"] = stored.get(node.input[0])
            elif node.op_type == "Exp" and node.output[0].endswith(_EXPONENTIAL) and node.input[0] in stored:
                found["dp.flows.0.logs"] = -stored[node.input[0]]
        for name, value in stored.items():
            if name.endswith(_EXPONENTIAL):
                found["dp.flows.0.logs"] = -np.log(value)
        if found.get("enc_p.emb.weight") is None or "dec.conv_pre.weight" not in found:
            msg = f"{self._path} is no Piper voice: it has no text encoder (enc_p.emb) or no decoder (dec.conv_pre)."
            raise VoiceImportError(msg)
        return found

    def _convolution(self, node: Any, stored: Mapping[str, Any], found: dict[str, Any]) -> None:
        weight, bias = node.input[1], node.input[2] if len(node.input) > 2 else ""
        name = (
            bias.removesuffix(".bias")
            if bias.endswith(".bias")
            else weight.removesuffix(".weight")
            if weight.endswith(".weight")
            else ""
        )
        if name:
            found[f"{name}.weight"] = stored[weight]
            self.settings[name] = {item.name: list(item.ints) for item in node.attribute if item.ints}

    def _stored(self) -> dict[str, Any]:
        from onnx import TensorProto, numpy_helper

        if any(tensor.data_location == TensorProto.EXTERNAL for tensor in self._graph.initializer):
            msg = f"{self._path} keeps its weights in another file; Piper voices are one file."
            raise VoiceImportError(msg)
        constants = [
            (node.output[0], item.t)
            for node in self._graph.node
            if node.op_type == "Constant"
            for item in node.attribute
            if item.name == "value"
        ]
        try:
            kept = {tensor.name: numpy_helper.to_array(tensor) for tensor in self._graph.initializer}
            return kept | {name: numpy_helper.to_array(tensor) for name, tensor in constants}
        except (ValueError, TypeError) as error:
            msg = f"{self._path} is damaged: {str(error).splitlines()[0]}"
            raise VoiceImportError(msg) from error


def _network(tensors: Mapping[str, Any], settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Return coqui's `VitsArgs` of the network that has these tensors."""
    try:
        return {
            "out_channels": _FFT_SIZE // 2 + 1,
            "hidden_channels": tensors["enc_p.emb.weight"].shape[1],
            "hidden_channels_ffn_text_encoder": tensors["enc_p.encoder.ffn_layers.0.conv_1.weight"].shape[0],
            "num_layers_text_encoder": count(tensors, r"enc_p\.encoder\.attn_layers\.(\d+)\."),
            "kernel_size_text_encoder": tensors["enc_p.encoder.ffn_layers.0.conv_1.weight"].shape[2],
            "num_layers_flow": count(tensors, r"flow\.flows\.0\.enc\.in_layers\.(\d+)\."),
            "kernel_size_flow": tensors["flow.flows.0.enc.in_layers.0.weight"].shape[2],
            "use_sdp": any(name.startswith("dp.flows.") for name in tensors),
            **({"speaker_embedding_channels": tensors["emb_g.weight"].shape[1]} if "emb_g.weight" in tensors else {}),
            **_decoder(tensors, settings),
        }
    except KeyError as error:
        msg = f"{path} is no Piper voice that can be converted: the tensor {error.args[0]} is missing."
        raise VoiceImportError(msg) from error


def _decoder(tensors: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, Any]:
    steps = range(count(tensors, r"dec\.ups\.(\d+)\.weight"))
    kind = "2" if "dec.resblocks.0.convs.0.weight" in tensors else "1"
    convolutions = "convs" if kind == "2" else "convs1"
    blocks = range(count(tensors, r"dec\.resblocks\.(\d+)\.") // max(1, len(steps)))
    names = [[f"dec.resblocks.{j}.{convolutions}.{i}" for i in range(_RESIDUAL_DILATIONS[kind])] for j in blocks]
    return {
        "upsample_rates_decoder": [_first(settings[f"dec.ups.{i}"]["strides"]) for i in steps],
        "upsample_kernel_sizes_decoder": [tensors[f"dec.ups.{i}.weight"].shape[-1] for i in steps],
        "upsample_initial_channel_decoder": tensors["dec.conv_pre.weight"].shape[0],
        "resblock_type_decoder": kind,
        "resblock_kernel_sizes_decoder": [tensors[f"{row[0]}.weight"].shape[-1] for row in names],
        "resblock_dilation_sizes_decoder": [[_first(settings[name]["dilations"]) for name in row] for row in names],
    }


def _first(values: Iterable[int]) -> int:
    return int(next(iter(values)))
