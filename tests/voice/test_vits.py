"""The VITS engine: each form of voice passes the contract of engines, and speech keeps to its own thread."""

import shutil
import threading
from pathlib import Path

import pytest
import torch

from elysia_chat.voice import espeak
from elysia_chat.voice.engine import SpeechEngine
from elysia_chat.voice.errors import MissingProgramError, SynthesisError, UnspeakableError
from elysia_chat.voice.registry import Voice, VoiceInfo, load_engine
from elysia_chat.voice.vits import VitsEngine, known_languages, load_vits
from elysia_chat.voice.vits_import import add_voice
from elysia_chat.voice.vits_text import SymbolText
from tests.voice.contract import EngineContract
from tests.voice.needs import needs_espeak
from tests.voice.tiny_vits import original_voice, piper_voice


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> SpeechEngine:
    return loaded(tmp_path_factory, original_voice)


@pytest.fixture(scope="module")
def piper(tmp_path_factory: pytest.TempPathFactory) -> SpeechEngine:
    return loaded(tmp_path_factory, piper_voice)


@pytest.fixture(scope="module")
def joe() -> SpeechEngine:
    return load_engine("joe")


def loaded(factory: pytest.TempPathFactory, write) -> SpeechEngine:
    folder = factory.mktemp("voice")
    write(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ELYSIA_CHAT_HOME", str(factory.mktemp("home")))
        add_voice(folder, name="tiny")
        return load_engine("tiny")


class TestOriginalVoice(EngineContract):
    @pytest.fixture
    def engine(self, original: SpeechEngine) -> SpeechEngine:
        return original


@needs_espeak
class TestPiperVoice(EngineContract):
    language = "en"
    short = "Hello."
    long = "What a lovely day it is, and how the flowers are blooming; let us go and look at them."

    @pytest.fixture
    def engine(self, piper: SpeechEngine) -> SpeechEngine:
        return piper


@pytest.mark.weights
@needs_espeak
class TestJoe(TestPiperVoice):
    @pytest.fixture
    def engine(self, joe: SpeechEngine) -> SpeechEngine:
        return joe


def test_speech_leaves_the_threads_of_others_alone(original: VitsEngine):
    # torch.set_num_threads(1) for speech would have taken the language model's threads away.
    before = torch.get_num_threads()
    seen: list[int] = []
    model = original._model
    handle = model.text_encoder.register_forward_pre_hook(lambda *_: seen.append(torch.get_num_threads()))
    worker = threading.Thread(target=lambda: original.synthesize("你好。", language="zh"))
    worker.start()
    worker.join()
    handle.remove()
    assert seen == [1]
    assert torch.get_num_threads() == before


def test_a_failing_network_is_told_in_one_line(original: VitsEngine, monkeypatch: pytest.MonkeyPatch):
    def fail(*_args: object, **_named: object) -> None:
        msg = "out of memory\nat line 3"
        raise RuntimeError(msg)

    monkeypatch.setattr(original._model, "inference", fail)
    with pytest.raises(SynthesisError, match=r"^The voice failed on a sentence: out of memory$"):
        original.synthesize("你好。", language="zh")


def test_text_that_the_voice_knows_nothing_of(original: VitsEngine):
    with pytest.raises(UnspeakableError, match="knows nothing"):
        original.synthesize("กข", language="zh")


def test_symbols_between_pads_with_a_beginning_and_an_end():
    table = {"a": [5], "b": [6, 7], ".": [8]}
    text = SymbolText(lambda text, _language: text, table, pad=0, bos=1, eos=2)
    assert text.ids("a?b.", "en") == [1, 0, 5, 0, 6, 0, 7, 0, 8, 0, 2]
    assert SymbolText(lambda text, _language: text, table, pad=None).ids("ab", "en") == [5, 6, 7]


@needs_espeak
def test_phonemes_keep_their_punctuation():
    assert espeak.espeak_phonemes("Hello, world! Yes…", "en-us") == "həlˈoʊ, wˈɜːld! jˈɛs."
    with pytest.raises(SynthesisError, match="'xx'"):
        espeak.espeak_phonemes("Hello.", "xx")


@needs_espeak
def test_mandarin_phonemes_are_not_those_of_english_letters():
    # espeak-ng 1.51 reads Chinese under its own name "cmn" as "n-i-three".
    assert "θɹ" not in espeak.espeak_phonemes("你好，朋友。", "cmn")


def test_a_piper_voice_without_espeak_names_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    piper_voice(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    info = VoiceInfo(name="x", kind="vits", languages=("en",), sample_rate=22_050, cleaner="espeak")
    from elysia_chat.voice import vits_model
    from elysia_chat.voice.piper import read_piper

    voice = read_piper(tmp_path / "tiny.onnx", tmp_path / "tiny.onnx.json")
    vits_model.save(
        vits_model.make_network(voice.config, voice.tensors, "tiny", phonemes=False), voice.config, tmp_path
    )
    with pytest.raises(MissingProgramError, match=r"apt install espeak-ng .* brew install espeak-ng"):
        load_vits(Voice(info, tmp_path), None, 1)


def test_languages_by_the_names_that_checkpoints_have():
    assert known_languages(["en-us", "zh-cn", "de", "ja_JP"]) == {"en": "en-us", "zh": "zh-cn", "ja": "ja_JP"}
    assert known_languages(["cmn", "Mandarin"]) == {"zh": "cmn"}
    assert known_languages(["", "enochian"]) == {}
