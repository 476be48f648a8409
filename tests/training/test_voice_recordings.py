"""Recordings are read, checked one by one, and told of where they cannot be used."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from elysia_chat.training.voice.errors import RecordingsError
from elysia_chat.training.voice.preparation import prepare
from elysia_chat.training.voice.recordings import Recording, read_recordings, transcriber

RATE = 22_050


def tone(path: Path, seconds: float = 2.0, *, rate: int = RATE, level: float = 0.3, edges: float = 0.0) -> Path:
    times = np.arange(int(seconds * rate)) / rate
    quiet = np.zeros(int(edges * rate))
    path.parent.mkdir(parents=True, exist_ok=True)
    sound = np.clip(level * np.sin(2 * np.pi * 220 * times), -1, 1)
    soundfile.write(path, np.concatenate([quiet, sound, quiet]), rate)
    return path


def letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if "a" <= letter <= "z" or letter == " ").strip()


def checked(path: Path, text: str, folder: Path) -> list[str]:
    others = [Recording(tone(folder / "good.wav"), "a good long sentence")]
    prepared = prepare([*others, Recording(path, text)], folder / "out", RATE, letters)
    return [finding.problem for finding in prepared.findings]


def test_metadata_in_the_manner_of_ljspeech(tmp_path: Path):
    tone(tmp_path / "wavs" / "a.wav")
    tone(tmp_path / "b.flac")
    (tmp_path / "metadata.csv").write_text("a|It is 3.|It is three.\n\nb.flac|你好。\n", encoding="utf-8-sig")
    first, second = read_recordings(tmp_path)
    assert (first.text, second.text) == ("It is three.", "你好。")
    assert first.path.name == "a.wav"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("a\n", "line 1: write it as name|text"),
        ("missing|hello\n", "line 1: there is no sound file for 'missing'"),
        ("../secret|hello\n", "no sound file"),
        ("\n", "lists no recordings"),
    ],
)
def test_metadata_that_is_wrong(tmp_path: Path, content: str, told: str):
    folder = tmp_path / "data"
    tone(folder / "wavs" / "a.wav")
    tone(tmp_path / "secret.wav")
    (folder / "metadata.csv").write_text(content, encoding="utf-8")
    with pytest.raises(RecordingsError, match=told.replace("|", r"\|")):
        read_recordings(folder)


def test_sound_alone_and_nothing_at_all(tmp_path: Path):
    tone(tmp_path / "b.wav")
    tone(tmp_path / "a.ogg")
    assert [(item.path.name, item.text) for item in read_recordings(tmp_path)] == [("a.ogg", ""), ("b.wav", "")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(RecordingsError, match="no recordings in"):
        read_recordings(tmp_path / "empty")
    with pytest.raises(RecordingsError, match="no folder"):
        read_recordings(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("make", "text", "problem"),
    [
        (lambda path: tone(path, 0.2), "hi", ["too short"]),
        (lambda path: tone(path, 20), "a long sentence that goes on and on", ["too long"]),
        (lambda path: tone(path, level=1.5), "a loud sentence", ["clipped"]),
        (tone, "  ", ["empty text"]),
        (tone, "你好", ["unknown text"]),
        (tone, "a", ["too slow"]),
        (tone, "much too much text for two seconds " * 3, ["too fast"]),
        (lambda path: tone(path, rate=8000), "a telephone", ["low rate"]),
        (tone, "all is well here", []),
    ],
)
def test_what_is_wrong_with_a_recording(tmp_path: Path, make: Callable[[Path], Path], text: str, problem: list[str]):
    assert checked(make(tmp_path / "it.wav"), text, tmp_path) == problem


def test_a_file_that_is_no_sound(tmp_path: Path):
    (tmp_path / "it.wav").write_bytes(b"RIFFxxxx")
    assert checked(tmp_path / "it.wav", "hello", tmp_path) == ["unreadable"]


def test_sounds_come_out_mono_at_the_voices_rate_without_silent_edges(tmp_path: Path):
    path = tone(tmp_path / "it.wav", 1.0, rate=44_100, edges=0.5)
    samples, rate = soundfile.read(path)
    soundfile.write(path, np.stack([samples, samples], axis=1), rate)
    prepared = prepare([Recording(path, "a stereo sentence")], tmp_path / "out", RATE, letters)
    ((name, symbols),) = prepared.samples
    made, rate = soundfile.read(prepared.folder / name)
    assert (rate, made.ndim, symbols) == (RATE, 1, "a stereo sentence")
    assert prepared.seconds == pytest.approx(1.06, abs=0.05)


def test_the_report_counts_and_a_hopeless_folder_is_refused(tmp_path: Path):
    recordings = [Recording(tone(tmp_path / f"{number}.wav", 0.1), "hi") for number in range(3)]
    with pytest.raises(RecordingsError, match=r"Not one of 3 recordings can be used \(too short: 3\)"):
        prepare(recordings, tmp_path / "out", RATE, letters)
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert (report["kept"], report["left_out"], report["problems"]) == (0, 3, {"too short": 3})


def test_recordings_without_text_are_written_down(tmp_path: Path):
    recordings = [Recording(tone(tmp_path / "a.wav"), "")]
    prepared = prepare(recordings, tmp_path / "out", RATE, letters, transcribe=lambda _path: "heard by a machine")
    assert prepared.samples[0][1] == "heard by a machine"


def test_writing_down_names_the_package_that_is_missing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(RecordingsError, match="pip install faster-whisper"):
        transcriber("small", "en")
