"""Voices of the original VITS become checkpoints that speak the same; what is none of them is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elysia_chat.voice import vits_model
from elysia_chat.voice.errors import VoiceImportError
from elysia_chat.voice.original_vits import read_original
from tests.voice.test_piper import wave_of_network
from tests.voice.tiny_vits import ORIGINAL_SYMBOLS, original_voice

IDS = [0, 12, 0, 20, 0, 8, 0, 31, 0, 40, 0, 12, 0]


def wave_of_reference(model: Any, ids: list[int], speaker: int | None) -> np.ndarray:
    model.noise_scale = model.noise_scale_duration = 0.0
    with torch.inference_mode():
        made = model(torch.tensor([ids]), speaker_id=speaker)
    return made.waveform.reshape(-1).numpy()


@pytest.mark.parametrize(("speakers", "sdp"), [(2, True), (1, True), (2, False)])
def test_the_converted_voice_speaks_as_another_implementation_of_vits(tmp_path: Path, speakers: int, sdp: bool):
    reference = original_voice(tmp_path, speakers=speakers, sdp=sdp)
    voice = read_original(tmp_path / "G_100.pth", tmp_path / "config.json")
    model = vits_model.make_network(voice.config, voice.tensors, "tiny", phonemes=False)
    for speaker in range(speakers) if speakers > 1 else [None]:
        expected = wave_of_reference(reference, IDS, speaker)
        made = wave_of_network(model, IDS, speaker)
        assert made.shape == expected.shape
        assert np.abs(expected).max() > 1e-3
        assert np.abs(made - expected).max() <= 1e-4


def test_what_the_voice_tells_of_itself(tmp_path: Path):
    original_voice(tmp_path, speakers=2)
    voice = read_original(tmp_path / "G_100.pth", tmp_path / "config.json")
    assert voice.speakers == ("讲者0", "讲者1")
    assert voice.cleaner.languages == ("zh", "ja", "en")
    assert voice.config["characters"]["vocab_dict"] == ORIGINAL_SYMBOLS
    assert voice.config["audio"]["sample_rate"] == 22_050


def test_a_slimmed_checkpoint_without_what_training_needs(tmp_path: Path):
    reference = original_voice(tmp_path, speakers=1)
    content = torch.load(tmp_path / "G_100.pth", weights_only=True)
    kept = {
        name: value
        for name, value in content["model"].items()
        if not name.startswith(("enc_q", "dp.post", "dp.flows.1"))
    }
    torch.save({"model": kept}, tmp_path / "G_100.pth")
    voice = read_original(tmp_path / "G_100.pth", tmp_path / "config.json")
    model = vits_model.make_network(voice.config, voice.tensors, "tiny", phonemes=False)
    expected = wave_of_reference(reference, IDS, None)
    assert np.abs(wave_of_network(model, IDS) - expected).max() <= 1e-4


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("symbols", None, "symbols is missing"),
        ("symbols", ORIGINAL_SYMBOLS[:-1], "do not belong together"),
        ("data.text_cleaners", ["thai_cleaners"], "'thai_cleaners' is not supported; supported: .*cjke_cleaners2"),
        ("data.text_cleaners", None, "data.text_cleaners is missing"),
        ("data.sampling_rate", "fast", "data.sampling_rate must be a whole number"),
        ("model.hidden_channels", None, "model.hidden_channels is missing"),
        ("model.upsample_rates", 8, "model.upsample_rates must be a list"),
    ],
)
def test_a_configuration_that_lacks_something_is_refused_by_key(tmp_path: Path, key: str, value: Any, told: str):
    original_voice(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    *parts, last = key.split(".")
    target = content[parts[0]] if parts else content
    target[last] = value
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(VoiceImportError, match=told):
        read_original(tmp_path / "G_100.pth", path)


def test_a_configuration_of_another_size_is_refused(tmp_path: Path):
    original_voice(tmp_path)
    path = tmp_path / "config.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["model"]["filter_channels"] = 96
    path.write_text(json.dumps(content), encoding="utf-8")
    voice = read_original(tmp_path / "G_100.pth", path)
    with pytest.raises(VoiceImportError, match=r"G_100.pth has weights of another size .*text_encoder"):
        vits_model.make_network(voice.config, voice.tensors, "G_100.pth", phonemes=False)


def test_the_discriminator_is_not_the_voice(tmp_path: Path):
    original_voice(tmp_path)
    with pytest.raises(VoiceImportError, match=r"discriminator; take G_\*\.pth"):
        read_original(tmp_path / "D_100.pth", tmp_path / "config.json")


class Harmful:
    """What a pickle may hold: a call."""

    def __reduce__(self) -> tuple[Any, ...]:
        return print, ("code of the file was run",)


@pytest.mark.parametrize("content", [{"model": {"x": 1}, "extra": Harmful()}, None, [1, 2], {"weights": {}}])
def test_what_is_no_checkpoint_is_refused_and_nothing_of_it_run(
    tmp_path: Path, content: Any, capsys: pytest.CaptureFixture[str]
):
    original_voice(tmp_path)
    path = tmp_path / "G_100.pth"
    if content is None:
        path.write_bytes(path.read_bytes()[:5000])
    else:
        torch.save(content, path)
    with pytest.raises(VoiceImportError, match=r"G_100\.pth"):
        read_original(path, tmp_path / "config.json")
    assert "was run" not in capsys.readouterr().out
