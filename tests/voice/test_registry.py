import json
from pathlib import Path

import pytest

from elysia_chat.configs.settings import VoiceSettings
from elysia_chat.voice.build import Speech, build_speech, choose_voices
from elysia_chat.voice.errors import UnknownVoiceError, VoiceFolderError
from elysia_chat.voice.pool import VoicePool
from elysia_chat.voice.registry import broken_voices, find_voice, list_voices, load_engine


@pytest.fixture
def own(data_folder: Path) -> Path:
    """A voice of the user's, called 'own', that is silent in Chinese and English."""
    folder = data_folder / "voices" / "own"
    folder.mkdir(parents=True)
    described = {"name": "own", "kind": "silence", "languages": ["zh", "en"], "speakers": ["a", "b"], "speaker": "b",
                 "sample_rate": 16_000}  # fmt: skip
    (folder / "voice.json").write_text(json.dumps(described), encoding="utf-8")
    return folder


def test_built_in_voices_and_ones_own(own: Path):
    voices = {voice.info.name: voice for voice in list_voices()}
    assert list(voices) == ["xiaoyi", "xiaoxiao", "joe", "silence", "own"]
    assert (voices["joe"].built_in, voices["own"].built_in) == (True, False)
    assert voices["own"].folder == own
    assert load_engine("own", speaker="a").sample_rate == 16_000


@pytest.mark.parametrize("name", ["nobody", "../own", "", ".", "own/.."])
def test_unknown_voices_name_the_known_ones(own: Path, name: str):
    with pytest.raises(UnknownVoiceError, match="known: xiaoyi, xiaoxiao, joe, silence, own"):
        find_voice(name)


def test_unknown_speakers_name_the_known_ones(own: Path):
    with pytest.raises(UnknownVoiceError, match="'own' has no speaker 'c'; it has: a, b"):
        load_engine("own", speaker="c")
    with pytest.raises(UnknownVoiceError, match="only one"):
        load_engine("silence", speaker="c")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no voice.json"),
        ("{", "does not describe a voice"),
        ("[]", "does not describe a voice"),
        ('{"name": "own", "kind": "parrot", "languages": ["zh"], "sample_rate": 1}', "kind"),
        ('{"name": "own", "kind": "silence", "languages": [], "sample_rate": 1}', "languages"),
        ('{"name": "other", "kind": "silence", "languages": ["zh"], "sample_rate": 1}', "rename the folder"),
    ],
)
def test_broken_folders_are_told_and_hide_no_other(own: Path, content: str | None, message: str):
    if content is None:
        (own / "voice.json").unlink()
    else:
        (own / "voice.json").write_text(content, encoding="utf-8")
    with pytest.raises(VoiceFolderError, match=message):
        find_voice("own")
    assert len(list_voices()) == 4
    assert len(broken_voices()) == 1


def test_which_voice_speaks(own: Path):
    assert choose_voices(VoiceSettings()) == {"zh": "xiaoyi", "en": "joe"}
    persona = {"zh": "xiaoxiao", "en": "not-here"}
    assert choose_voices(VoiceSettings(), persona) == {"zh": "xiaoxiao", "en": "joe"}
    assert choose_voices(VoiceSettings(zh="silence", ja="silence"), persona) == {
        "zh": "silence", "en": "joe", "ja": "silence"
    }  # fmt: skip
    assert choose_voices(VoiceSettings(name="own", zh="silence"), persona) == {"zh": "own", "en": "own"}
    assert choose_voices(VoiceSettings(name="own"), voice="xiaoxiao") == {"zh": "xiaoxiao", "en": "own"}
    with pytest.raises(UnknownVoiceError):
        choose_voices(VoiceSettings(name="nobody"))
    with pytest.raises(UnknownVoiceError, match="it has: a, b"):
        choose_voices(VoiceSettings(name="own", speaker="c"))


def test_engines_are_loaded_once_and_late(own: Path):
    pool = VoicePool(speaker="a")
    engine = pool.engine("own")
    assert pool.engine("own") is engine
    assert engine.languages == {"zh", "en"}
    assert engine.load() is engine.load()
    pool.forget("own")
    assert pool.engine("own") is not engine


def test_speech_on_the_fake():
    speech: Speech = build_speech(VoiceSettings(zh="silence", en="silence"))
    stream = speech.stream(speech.speaker())
    stream.feed("你好，我是Elysia。")
    stream.finish()
    (spoken,) = stream
    assert spoken.audio is not None
    assert spoken.audio.seconds > 1
    speech.close()
