"""Taking voices over: all three forms, and every way in which it may fail leaves nothing behind."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from elysia_chat.voice import espeak
from elysia_chat.voice.errors import (
    MissingProgramError,
    UnknownVoiceError,
    VoiceFolderError,
    VoiceImportError,
)
from elysia_chat.voice.registry import list_voices, load_engine
from elysia_chat.voice.vits_import import add_voice, remove_voice
from tests.voice.needs import needs_espeak
from tests.voice.tiny_vits import coqui_voice, original_voice, piper_voice


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One tiny voice of each form."""
    root = tmp_path_factory.mktemp("voices")
    for name in ("piper", "original", "coqui", "many"):
        (root / name).mkdir()
    piper_voice(root / "piper")
    original_voice(root / "original")
    coqui_voice(root / "coqui")
    coqui_voice(root / "many", speakers=("Ann", "Bob"))
    return root


@pytest.fixture
def copies(made: Path, tmp_path: Path) -> Path:
    """Copies that a test may damage."""
    return Path(shutil.copytree(made, tmp_path / "copies"))


def change(path: Path, **changes: Any) -> None:
    content = json.loads(path.read_text(encoding="utf-8")) | changes
    path.write_text(json.dumps(content), encoding="utf-8")


def left_behind(home: Path) -> list[str]:
    folder = home / "voices"
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock") if folder.is_dir() else []


def test_an_original_voice_with_two_speakers(made: Path, data_folder: Path):
    added = add_voice(made / "original", name="ely", speaker="讲者1")
    assert (added.form, added.language, added.voice.info.speakers) == ("original", "zh", ("讲者0", "讲者1"))
    assert added.audio.seconds > 0.2
    assert added.voice.info.cleaner == "cjke_cleaners2"
    assert left_behind(data_folder) == ["ely"]
    assert [voice.info.name for voice in list_voices() if not voice.built_in] == ["ely"]
    first, second = (load_engine("ely", speaker=name) for name in ("讲者0", "讲者1"))
    assert first.fingerprint != second.fingerprint == load_engine("ely").fingerprint
    assert first.languages == {"zh", "ja", "en"}
    assert first.synthesize("你好。", language="zh").sample_rate == 22_050


@needs_espeak
def test_a_piper_voice(made: Path):
    added = add_voice(made / "piper" / "tiny.onnx")
    assert (added.form, added.voice.info.name, added.voice.info.languages) == ("piper", "tiny", ("en",))
    assert (added.voice.info.cleaner, added.voice.info.speakers) == ("espeak", ())


def test_a_coqui_voice_is_called_after_its_folder(made: Path):
    added = add_voice(made / "coqui" / "best_model.pth")
    assert (added.form, added.voice.info.name, added.voice.info.languages) == ("coqui", "coqui", ("en",))


def test_speakers_of_a_coqui_voice(made: Path):
    assert add_voice(made / "many", speaker="Bob").voice.info.speaker == "Bob"
    with pytest.raises(UnknownVoiceError, match="no speaker 'Cem'; it has: Ann, Bob"):
        add_voice(made / "many", speaker="Cem", name="other")


def test_speakers_and_languages_in_files_of_another_machine(copies: Path):
    folder = copies / "many"
    (folder / "speakers.json").write_text('{"Zoe": 1, "Yan": 0}', encoding="utf-8")
    content = json.loads((folder / "config.json").read_text())
    content["model_args"]["speakers_file"] = "/home/somebody/run/speakers.json"
    content["speakers"] = []
    (folder / "config.json").write_text(json.dumps(content))
    assert add_voice(folder).voice.info.speakers == ("Yan", "Zoe")


def test_a_name_is_taken_only_once(made: Path):
    add_voice(made / "coqui", name="mine")
    with pytest.raises(VoiceImportError, match="voice 'mine' already"):
        add_voice(made / "original", name="mine")
    assert add_voice(made / "original", name="mine", replace=True).voice.info.cleaner == "cjke_cleaners2"


@pytest.mark.parametrize("name", ["joe", "../up", "a b", "", ".hidden", "x" * 65])
def test_names_that_cannot_be(made: Path, name: str):
    with pytest.raises(VoiceImportError, match="--name"):
        add_voice(made / "coqui", name=name)


def test_languages_can_be_chosen_but_not_made_up(made: Path):
    assert add_voice(made / "original", languages=["zh"]).voice.info.languages == ("zh",)
    with pytest.raises(VoiceImportError, match="cannot read 'ja'; it reads: en"):
        add_voice(made / "piper", languages=["ja"])
    with pytest.raises(VoiceImportError, match="'fr' is no language"):
        add_voice(made / "original", name="b", languages=["fr"])


def test_a_language_that_nothing_tells_has_to_be_said(copies: Path):
    change(copies / "coqui" / "config.json", text_cleaner="basic_cleaners", datasets=[])
    with pytest.raises(VoiceImportError, match="--language"):
        add_voice(copies / "coqui")
    assert add_voice(copies / "coqui", languages=["en"]).voice.info.languages == ("en",)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": "xtts"}, "model is 'xtts'"),
        ({"model_args": None}, "model_args is missing"),
        ({"use_d_vector_file": True}, "d-vector"),
        ({"text_cleaner": "system"}, "text_cleaner 'system'"),
        ({"use_phonemes": True, "phonemizer": "mine"}, "phonemizer 'mine'"),
        ({"characters": {"characters_class": "os.path.Evil"}}, "was not imported"),
    ],
)
def test_a_coqui_configuration_is_not_taken_on_trust(
    copies: Path, data_folder: Path, changes: dict[str, Any], told: str
):
    change(copies / "coqui" / "config.json", **changes)
    with pytest.raises(VoiceImportError, match=told):
        add_voice(copies / "coqui")
    assert left_behind(data_folder) == []


def test_weights_that_are_cut_short_leave_nothing_behind(copies: Path, data_folder: Path):
    path = copies / "original" / "G_100.pth"
    path.write_bytes(path.read_bytes()[:9000])
    with pytest.raises(VoiceImportError, match="damaged"):
        add_voice(copies / "original")
    state = torch.load(copies / "coqui" / "best_model.pth", weights_only=True)
    del state["model"]["text_encoder.emb.weight"]
    torch.save(state, copies / "coqui" / "best_model.pth")
    with pytest.raises(VoiceImportError, match=r"lacks weights of the network: text_encoder\.emb\.weight"):
        add_voice(copies / "coqui")
    assert left_behind(data_folder) == []


def test_a_voice_that_fails_on_its_test_sentence_is_not_kept(copies: Path, data_folder: Path):
    change(copies / "coqui" / "config.json", text_cleaner="basic_cleaners", datasets=[])
    with pytest.raises(Exception, match="knows nothing of what this text says"):
        add_voice(copies / "coqui", languages=["zh"])
    assert left_behind(data_folder) == []


def test_files_that_are_missing_are_named(copies: Path, tmp_path: Path):
    with pytest.raises(VoiceImportError, match="no file or folder"):
        add_voice(tmp_path / "nowhere")
    (copies / "piper" / "tiny.onnx.json").unlink()
    with pytest.raises(VoiceImportError, match=r"tiny\.onnx\.json, which is missing"):
        add_voice(copies / "piper")
    (copies / "original" / "config.json").unlink()
    with pytest.raises(VoiceImportError, match=r"needs its configuration beside it, which is missing.*config\.json"):
        add_voice(copies / "original")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VoiceImportError, match=r"no \.pth and no \.onnx"):
        add_voice(tmp_path / "empty")
    (tmp_path / "song.wav").write_bytes(b"RIFF")
    with pytest.raises(VoiceImportError, match="no voice that is known here"):
        add_voice(tmp_path / "song.wav")


def test_the_newest_checkpoint_of_a_run_is_taken(copies: Path):
    folder = copies / "original"
    shutil.copy(folder / "G_100.pth", folder / "G_2000.pth")
    (folder / "G_100.pth").write_bytes(b"old")
    assert add_voice(folder).voice.info.source == "original: G_2000.pth"
    (folder / "other.pth").write_bytes(b"")
    with pytest.raises(VoiceImportError, match=r"several voices.*other\.pth"):
        add_voice(folder, name="again")


def test_removing(made: Path, data_folder: Path):
    add_voice(made / "coqui", name="mine")
    assert remove_voice("mine") == data_folder / "voices" / "mine"
    assert left_behind(data_folder) == []
    with pytest.raises(UnknownVoiceError, match="no voice 'mine'"):
        remove_voice("mine")
    with pytest.raises(VoiceImportError, match="cannot be removed"):
        remove_voice("joe")
    with pytest.raises(UnknownVoiceError):
        remove_voice("../models")


@pytest.mark.parametrize("missing", ["config.json", "model.pth"])
def test_a_folder_with_a_file_missing_is_told_of_and_can_be_removed(made: Path, data_folder: Path, missing: str):
    add_voice(made / "coqui", name="mine")
    (data_folder / "voices" / "mine" / missing).unlink()
    with pytest.raises(VoiceFolderError, match=f"has no {missing}"):
        load_engine("mine")
    remove_voice("mine")


def test_a_folder_with_damaged_weights_is_told_of(made: Path, data_folder: Path):
    add_voice(made / "coqui", name="mine")
    (data_folder / "voices" / "mine" / "model.pth").write_bytes(b"cut")
    with pytest.raises(VoiceFolderError, match="damaged; remove the voice and add it again"):
        load_engine("mine")


def test_without_espeak_the_message_names_the_package(made: Path, monkeypatch: pytest.MonkeyPatch, data_folder: Path):
    monkeypatch.setattr(espeak.shutil, "which", lambda _name: None)
    with pytest.raises(MissingProgramError, match="apt install espeak-ng"):
        add_voice(made / "piper")
    assert left_behind(data_folder) == []
    # A voice that needs no such program goes on.
    assert add_voice(made / "original").audio.seconds > 0
