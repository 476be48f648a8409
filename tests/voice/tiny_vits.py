"""Tiny VITS voices with random weights, in each of the forms that users bring.

The reference for the original form is transformers' `VitsModel`, an implementation that has nothing to do with
coqui-tts: its tensors are renamed to what the original VITS calls them.
"""

import json
import math
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from elysia_chat.voice import vits_model
from elysia_chat.voice.torchaudio_standin import import_coqui

RATE = 22_050
NETWORK = {
    "hidden_channels": 32,
    "hidden_channels_ffn_text_encoder": 48,
    "num_heads_text_encoder": 2,
    "num_layers_text_encoder": 2,
    "num_layers_posterior_encoder": 1,
    "num_layers_flow": 2,
    "upsample_initial_channel_decoder": 32,
    "resblock_type_decoder": "2",
    "resblock_dilation_sizes_decoder": [[1, 2], [2, 6]],
    "resblock_kernel_sizes_decoder": [3, 5],
    "upsample_rates_decoder": [8, 8, 4],
    "upsample_kernel_sizes_decoder": [16, 16, 8],
    "use_sdp": True,
    "periods_multi_period_discriminator": [2],
}
PIPER_SYMBOLS = ["_", "^", "$", " ", *"!,.?abdefhijklmnopstuvwzæðŋɐɑɔəɛɜɡɪɹʃʊʌʒˈˌːθɾ"]

PIPER_IDS = [1, 0, 20, 0, 8, 0, 31, 0, 4, 0, 12, 0, 2]


def randomize(model: Any, seed: int = 1) -> Any:
    """Give a network weights that make sound: small ones, and lengths of a few frames a symbol."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            loud = 1.5 if "decoder" in name else 0.3
            scale = loud / math.sqrt(weight[0].numel()) if weight.dim() > 1 else 0.05
            fresh = torch.randn(weight.shape, generator=generator) * scale
            whole = re.search(r"(original0|gamma|norms?[\w.]*\.weight|layer_norm\.weight)$", name)
            weight.copy_(fresh.abs() + 0.5 if whole else fresh)
    return model.eval()


def piper_voice(folder: Path, *, speakers: int = 0, reader: str = "espeak") -> Path:
    """Write a Piper voice, `tiny.onnx` and `tiny.onnx.json`: the export that Piper makes of such a network."""
    symbols = vits_model.Symbols(tuple(PIPER_SYMBOLS), "_", "^", "$")
    config = vits_model.make_config(
        {**NETWORK, "hidden_channels": 192, "speaker_embedding_channels": 8},
        symbols,
        sample_rate=RATE,
        fft_size=1024,
        win_size=1024,
        speakers=tuple(map(str, range(speakers))),
    )
    model = randomize(vits_model.build(config, phonemes=False))
    vits_model.fold_weight_norm(model)
    path = folder / "tiny.onnx"
    _export(model, path, speakers > 0)
    _rename_tensors(path)
    about: dict[str, Any] = {
        "audio": {"sample_rate": RATE},
        "espeak": {"voice": "en-us"},
        "phoneme_type": reader,
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_id_map": {symbol: [number] for number, symbol in enumerate(PIPER_SYMBOLS)},
        "speaker_id_map": {f"speaker {number}": number for number in range(speakers)},
    }
    path.with_name("tiny.onnx.json").write_text(json.dumps(about), encoding="utf-8")
    return path


def _export(model: Any, path: Path, speakers: bool) -> None:
    class Export(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.vits = model

        def forward(self, ids: Any, lengths: Any, scales: Any, sid: Any = None) -> Any:
            self.vits.inference_noise_scale, self.vits.length_scale = scales[0], scales[1]
            self.vits.inference_noise_scale_dp = scales[2]
            given = {"x_lengths": lengths, "speaker_ids": sid}
            return type(self.vits).inference.__wrapped__(self.vits, ids, given)["model_outputs"]

    # Tracing keeps the length of the attention and of the sound: the export is good for these ids without noise.
    inputs = [torch.tensor([PIPER_IDS]), torch.tensor([len(PIPER_IDS)]), torch.tensor([0.0, 1.0, 0.0])]
    names = ["input", "input_lengths", "scales"]
    if speakers:
        inputs, names = [*inputs, torch.tensor([0])], [*names, "sid"]
    with warnings.catch_warnings():
        # The exporter that Piper's voices were made with warns of its age, and of each branch that it takes for good.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Export(),
            tuple(inputs),
            str(path),
            dynamo=False,
            opset_version=15,
            input_names=names,
            output_names=["output"],
            dynamic_axes={"input": {1: "symbols"}, "output": {2: "samples"}},
        )


_PIPER_NAMES = (
    (r"^vits\.", ""),
    (r"^text_encoder\.", "enc_p."),
    (r"^waveform_decoder\.cond_layer\.", "dec.cond."),
    (r"^waveform_decoder\.", "dec."),
    (r"^duration_predictor\.", "dp."),
    (r"^dp\.flows\.0\.translation$", "dp.flows.0.m"),
    (r"^dp\.flows\.0\.log_scale$", "dp.flows.0.logs"),
    (r"^dp\.flows\.([1-9])\.", lambda found: f"dp.flows.{2 * int(found[1]) - 1}."),
    (r"^flow\.flows\.(\d)\.", lambda found: f"flow.flows.{2 * int(found[1])}."),
)


def _rename_tensors(path: Path) -> None:
    """Give the tensors of an export the names that Piper's have, where these are not the exporter's numbers."""
    import onnx

    model = onnx.load(str(path))
    names = {}
    for tensor in model.graph.initializer:
        name = tensor.name
        for pattern, replacement in _PIPER_NAMES:
            name = re.sub(pattern, replacement, name)
        names[tensor.name] = name
        tensor.name = name
    for node in model.graph.node:
        for number, name in enumerate(node.input):
            node.input[number] = names.get(name, name).replace("/duration_predictor/", "/dp/")
        for number, name in enumerate(node.output):
            node.output[number] = name.replace("/duration_predictor/", "/dp/")
    onnx.save(model, str(path))


ORIGINAL_SYMBOLS = ["_", *",.!?-~…", *"NQabdefghijklmnopstuvwxyzɑæʃʑçɯɪɔɛɹðəɫɥɸʊɾʒθβŋɦ⁼ʰ`^#*=ˈˌ→↓↑ "]
_LAYER = r"text_encoder\.encoder\.layers\.(\d+)\."
_ORIGINAL_NAMES = (
    (r"^embed_speaker\.", "emb_g."),
    (r"^text_encoder\.embed_tokens\.", "enc_p.emb."),
    (_LAYER + r"attention\.(q|k|v|out)_proj\.", lambda m: f"enc_p.encoder.attn_layers.{m[1]}.conv_{m[2][0]}."),
    (_LAYER + r"attention\.", r"enc_p.encoder.attn_layers.\1."),
    (_LAYER + r"layer_norm\.", r"enc_p.encoder.norm_layers_1.\1."),
    (_LAYER + r"final_layer_norm\.", r"enc_p.encoder.norm_layers_2.\1."),
    (_LAYER + r"feed_forward\.", r"enc_p.encoder.ffn_layers.\1."),
    (r"^text_encoder\.project\.", "enc_p.proj."),
    (r"^posterior_encoder\.", "enc_q."),
    (r"^duration_predictor\.", "dp."),
    (r"^decoder\.", "dec."),
    (r"^dec\.upsampler\.", "dec.ups."),
    (r"^flow\.flows\.(\d)\.", lambda m: f"flow.flows.{2 * int(m[1])}."),
    (r"^dp\.(post_)?flows\.([1-9])\.", lambda m: f"dp.{m[1] or ''}flows.{2 * int(m[2]) - 1}."),
    (r"flows\.0\.translate$", "flows.0.m"),
    (r"flows\.0\.log_scale$", "flows.0.logs"),
    (r"\.wavenet\.", ".enc."),
    (r"^(dp\.|dp\..*\.)(post_)?conv_(pre|proj)\.", lambda m: f"{m[1]}{m[2] or ''}{m[3]}."),
    (r"^(flow.*|enc_q)\.conv_(pre|proj|post)\.", r"\1.\2."),
    (r"conv_dds\.", "convs."),
    (r"convs_dilated\.", "convs_sep."),
    (r"convs_pointwise\.", "convs_1x1."),
    (r"\.parametrizations\.weight\.original0$", ".weight_g"),
    (r"\.parametrizations\.weight\.original1$", ".weight_v"),
)


def original_voice(folder: Path, *, speakers: int = 2, sdp: bool = True, cleaner: str = "cjke_cleaners2") -> Any:
    """Write `G_100.pth` and `config.json` as the original VITS does; returns transformers' model of the same."""
    from transformers import VitsConfig, VitsModel

    model = VitsModel(
        VitsConfig(
            vocab_size=len(ORIGINAL_SYMBOLS), hidden_size=64, num_hidden_layers=2, num_attention_heads=2, ffn_dim=48,
            flow_size=64, spectrogram_bins=513, use_stochastic_duration_prediction=sdp, upsample_initial_channel=32,
            upsample_rates=[8, 8, 2, 2], upsample_kernel_sizes=[16, 16, 4, 4], resblock_kernel_sizes=[3, 7],
            resblock_dilation_sizes=[[1, 3, 5], [1, 3, 5]], num_speakers=speakers,
            speaker_embedding_size=16 if speakers > 1 else 0, prior_encoder_num_wavenet_layers=4,
            posterior_encoder_num_wavenet_layers=2, sampling_rate=RATE,
        )
    )  # fmt: skip
    randomize(model)
    torch.save({"model": original_state(model), "iteration": 100, "learning_rate": 2e-4}, folder / "G_100.pth")
    torch.save({"model": {"discriminators.0.convs.0.weight": torch.zeros(1)}}, folder / "D_100.pth")
    (folder / "config.json").write_text(json.dumps(original_config(model, speakers, cleaner)), encoding="utf-8")
    return model


def original_state(model: Any) -> dict[str, torch.Tensor]:
    """Return the tensors of transformers' VITS by the original's names, the decoder's with weight normalisation."""
    state = {}
    for name, tensor in model.state_dict().items():
        for pattern, replacement in _ORIGINAL_NAMES:
            name = re.sub(pattern, replacement, name)
        if re.search(r"norm[\w.]*\.(weight|bias)$", name):
            name = name.replace(".weight", ".gamma").replace(".bias", ".beta")
        if re.search(r"attn_layers\.\d+\.conv_.\.weight$", name):
            tensor = tensor[..., None]
        if re.match(r"dec\.(ups|resblocks)\..*weight$", name):
            state[name + "_g"] = tensor.flatten(1).norm(dim=1).view(-1, 1, 1)
            name += "_v"
        state[name] = tensor.clone()
    return state


def original_config(model: Any, speakers: int, cleaner: str) -> dict[str, Any]:
    config = model.config
    return {
        "train": {"segment_size": 8192},
        "data": {
            "sampling_rate": RATE, "filter_length": 1024, "hop_length": 256, "win_length": 1024, "add_blank": True,
            "n_speakers": speakers, "text_cleaners": [cleaner],
        },
        "model": {
            "inter_channels": 64, "hidden_channels": 64, "filter_channels": config.ffn_dim, "n_heads": 2,
            "n_layers": config.num_hidden_layers, "kernel_size": 3, "p_dropout": 0.1, "resblock": "1",
            "resblock_kernel_sizes": config.resblock_kernel_sizes, "gin_channels": config.speaker_embedding_size,
            "resblock_dilation_sizes": config.resblock_dilation_sizes, "upsample_rates": config.upsample_rates,
            "upsample_initial_channel": config.upsample_initial_channel,
            "upsample_kernel_sizes": config.upsample_kernel_sizes, "use_spectral_norm": False,
        },
        "speakers": {f"讲者{number}": number for number in range(speakers)},
        "symbols": ORIGINAL_SYMBOLS,
    }  # fmt: skip


def coqui_voice(folder: Path, *, speakers: tuple[str, ...] = (), **changes: Any) -> Any:
    """Write `best_model.pth` and `config.json` as coqui's trainer does; returns the network."""
    import_coqui("TTS.tts.models.vits")
    config = {
        "model": "vits",
        "model_args": {**NETWORK, "use_speaker_embedding": bool(speakers)},
        "audio": {"sample_rate": RATE, "hop_length": 256, "fft_size": 1024, "win_length": 1024},
        "characters": {
            "characters_class": "TTS.tts.models.vits.VitsCharacters",
            "pad": "_",
            "characters": "abcdefghijklmnopqrstuvwxyz",
            "punctuations": "!,.? ",
            "phonemes": None,
            "blank": "<BLNK>",
        },
        "speakers": list(speakers),
        "use_speaker_embedding": bool(speakers),
        "use_phonemes": False,
        "text_cleaner": "english_cleaners",
        "datasets": [{"formatter": "ljspeech", "path": "/somewhere/else", "language": "en"}],
        **changes,
    }
    model = randomize(vits_model.build(config))
    torch.save({"model": model.state_dict(), "step": 5, "config": config}, folder / "best_model.pth")
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return model
