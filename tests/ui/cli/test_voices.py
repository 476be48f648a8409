from pathlib import Path

import pytest
import soundfile

from tests.ui.cli.conftest import Command, parsed
from tests.voice.tiny_vits import coqui_voice


@pytest.fixture(scope="module")
def voice(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("voices") / "tiny"
    folder.mkdir()
    coqui_voice(folder, speakers=("Ann", "Bob"))
    return str(folder)


def test_a_voice_is_added_listed_and_removed(command: Command, voice: str, tmp_path: Path):
    wave = tmp_path / "test.wav"
    added = parsed(command("voices", "add", voice, "--speaker", "Bob", "-o", str(wave), "--json"))
    assert (added["name"], added["form"], added["speaker"], added["built_in"]) == ("tiny", "coqui", "Bob", False)
    assert added["languages"] == ["en"]
    assert soundfile.info(wave).duration == pytest.approx(added["test"]["audio_s"], abs=0.01)
    voices = {item["name"]: item for item in parsed(command("voices", "list", "--json"))["voices"]}
    assert set(voices) == {"xiaoyi", "xiaoxiao", "joe", "silence", "tiny"}
    assert voices["joe"]["built_in"]
    assert "Ann, Bob" in command("voices", "list").stdout
    assert parsed(command("voices", "remove", "tiny", "--json"))["removed"] == "tiny"
    assert "tiny" not in command("voices", "list").stdout


def test_in_words(command: Command, voice: str):
    told = command("voices", "add", voice, "--name", "mine").stdout
    assert "The voice 'mine' speaks en at 22050 Hz." in told
    assert "Use it with: --set voice.name=mine" in told


def test_what_is_no_voice_is_one_line(command: Command, tmp_path: Path):
    result = command("voices", "add", str(tmp_path / "nowhere"), "--json")
    assert result.exit_code == 1
    assert parsed(result)["error"]["type"] == "VoiceImportError"
    assert len(result.stderr.strip().splitlines()) == 1


def test_a_format_that_cannot_be_written_is_told_before_the_work(command: Command, voice: str):
    result = command("voices", "add", voice, "-o", "test.flac")
    assert result.exit_code == 1
    assert ".wav" in result.stderr
    assert "tiny" not in command("voices", "list").stdout


def test_a_broken_folder_is_told_of(command: Command, data_folder: Path):
    (data_folder / "voices" / "broken").mkdir(parents=True)
    listed = parsed(command("voices", "list", "--json"))
    assert len(listed["broken"]) == 1
    assert "broken" in listed["broken"][0]
