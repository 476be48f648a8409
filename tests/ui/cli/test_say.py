import shutil
import signal
from pathlib import Path

import pytest
import soundfile

from elysia_chat.ui.cli import player
from tests.ui.cli.conftest import Command, parsed

REPLIES = "--set=model.replies=['In a teapot [1]. It is blue.', 'On the fifth.']"
# A program that plays: it notes how many bytes it was given.
PLAYS = '#!/bin/sh\n{{ {body}; }} >> "{log}"\n'


@pytest.mark.parametrize(("suffix", "kind"), [("wav", "WAV"), ("mp3", "MP3"), ("ogg", "OGG")])
def test_text_becomes_a_file(command: Command, tmp_path: Path, suffix: str, kind: str):
    file = tmp_path / f"hello.{suffix}"
    data = parsed(command("say", "你好呀，我是爱莉希雅。 How are you today?", "-o", str(file), "--json"))
    assert soundfile.info(file).format == kind
    assert soundfile.info(file).duration == pytest.approx(data["audio_s"], abs=0.1)
    assert (data["file"], data["format"], data["sample_rate"]) == (str(file), suffix, 24_000)
    assert 0 < data["first_audio_s"] <= data["total_s"]
    assert data["problems"] == []


def test_text_from_stdin(command: Command, tmp_path: Path):
    file = tmp_path / "out.wav"
    result = command("say", "-", "-o", str(file), input="第一句话在这里。第二句话在这里。")
    assert result.exit_code == 0
    assert result.stdout.startswith(f"{file}: ")
    assert soundfile.info(file).duration > 3


def test_speed(command: Command, tmp_path: Path):
    words = ("say", "今天的天气真好，我们走吧。", "--json", "-o", str(tmp_path / "a.wav"))
    assert parsed(command(*words, "--speed", "2"))["audio_s"] < 0.7 * parsed(command(*words))["audio_s"]


def test_ten_thousand_characters_without_a_full_stop(command: Command, tmp_path: Path):
    file = tmp_path / "long.ogg"
    assert parsed(command("say", "走" * 10_000, "-o", str(file), "--json"))["audio_s"] > 2000


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("……😀", "-o", "a.wav"), "nothing to say"),
        (("", "-o", "a.wav"), "nothing to say"),
        (("你好", "-o", "a.flac"), r"'.flac' is no format of audio files"),
        (("你好", "-o", "missing/a.wav"), "Cannot write"),
        (("你好", "-o", "a.wav", "--voice", "nobody"), "no voice 'nobody'; known: xiaoyi"),
        (("你好", "-o", "a.wav", "--voice", "silence", "--speaker", "x"), "no speaker 'x'"),
        (("Привет", "-o", "a.wav"), "No voice can read the script"),
    ],
)
def test_bad_input_is_told_in_one_line(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
):
    monkeypatch.chdir(tmp_path)
    result = command("say", *words)
    assert result.exit_code == 1
    assert message in result.stderr
    assert result.stderr.strip().count("\n") <= 1
    assert not list(tmp_path.glob("a.*"))


def test_what_cannot_be_said_is_left_out_and_told(command: Command, tmp_path: Path):
    data = parsed(command("say", "你好，Привет。", "-o", str(tmp_path / "a.wav"), "--json"))
    assert data["audio_s"] > 0.4
    assert len(data["problems"]) == 1


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Take every program that plays off the path, and return the file for a made one's notes."""
    (tmp_path / "bin").mkdir()
    for name in ("sh", "wc", "head"):
        (tmp_path / "bin" / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "played"


def install(log: Path, body: str) -> None:
    program = log.parent / "bin" / "aplay"
    program.write_text(PLAYS.format(body=body, log=log), encoding="utf-8")
    program.chmod(0o755)


def test_chat_is_heard(command: Command, log: Path):
    install(log, "wc -c")
    result = command("chat", "--speak", REPLIES, input="Where does Mini live?\nAnd then?\n")
    assert (result.exit_code, result.stdout) == (0, "In a teapot [1]. It is blue.\nOn the fifth.\n")
    assert result.stderr.count("speech") == 0
    first, second = (int(number) for number in log.read_text(encoding="utf-8").split())
    assert first > second > 24_000


def test_without_a_player_the_chat_goes_on_with_one_line(command: Command, log: Path):
    result = command("chat", "--speak", REPLIES, input="Where does Mini live?\nAnd then?\n")
    assert (result.exit_code, result.stdout) == (0, "In a teapot [1]. It is blue.\nOn the fifth.\n")
    assert result.stderr.count("Install one of aplay (alsa-utils)") == 1


def test_without_an_audio_device_the_chat_goes_on_with_one_line(command: Command, log: Path):
    install(log, "echo 'aplay: main: audio open error: No such device' >&2; exit 1")
    result = command("chat", "--speak", REPLIES, input="Where does Mini live?\nAnd then?\n")
    assert (result.exit_code, result.stdout) == (0, "In a teapot [1]. It is blue.\nOn the fifth.\n")
    assert result.stderr.count("audio open error: No such device") == 1


def test_an_unknown_voice_ends_no_chat(command: Command, log: Path):
    install(log, "wc -c")
    result = command("chat", "--speak", REPLIES, "--set", "voice.name=nobody", input="Where does Mini live?\nAnd?\n")
    assert (result.exit_code, result.stdout) == (0, "In a teapot [1]. It is blue.\nOn the fifth.\n")
    assert result.stderr.count("no voice 'nobody'") == 1


def test_text_is_heard_where_no_file_is_named(command: Command, log: Path):
    install(log, "wc -c")
    data = parsed(command("say", "你好呀。", "--json"))
    assert data["file"] is None
    assert int(log.read_text(encoding="utf-8")) == pytest.approx(2 * 24_000 * data["audio_s"], abs=100)
    (log.parent / "bin" / "aplay").unlink()
    assert "Install one of aplay" in command("say", "你好呀。").stderr


def test_stopping_cuts_what_is_heard(log: Path):
    from tests.voice.test_audio import tone

    install(log, "head -c 10; exec sleep 60")
    (log.parent / "bin" / "sleep").symlink_to("/bin/sleep")
    playing = player.Player(24_000)
    playing.play(tone(0.1))
    playing.stop()
    playing.stop()
    assert playing._process.poll() == -signal.SIGKILL
