from pathlib import Path

import numpy as np
import pytest
import soundfile

from elysia_chat.voice.vits_import import add_voice
from tests.ui.cli.conftest import Command, parsed
from tests.voice.tiny_vits import RATE, coqui_voice


@pytest.fixture
def recordings(tmp_path: Path) -> str:
    folder = tmp_path / "recordings"
    (folder / "wavs").mkdir(parents=True)
    for name in ("a", "b"):
        times = np.arange(int(1.5 * RATE)) / RATE
        soundfile.write(folder / "wavs" / f"{name}.wav", 0.3 * np.sin(2 * np.pi * 220 * times), RATE)
    (folder / "metadata.csv").write_text("a|Hello my dear friend.\nb| \n", encoding="utf-8")
    return str(folder)


def test_recordings_are_checked_with_a_report(command: Command, recordings: str, tmp_path: Path):
    (tmp_path / "tiny").mkdir()
    coqui_voice(tmp_path / "tiny")
    add_voice(tmp_path / "tiny", name="tiny")
    words = ("train", "voice", recordings, "--out", str(tmp_path / "out"), "--base", "tiny", "--check")
    report = parsed(command(*words, "--json"))["recordings"]
    assert (report["kept"], report["left_out"], report["problems"]) == (1, 1, {"empty text": 1})
    assert "b.wav: empty text" in command(*words).stdout


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--base", "nobody"), "no voice 'nobody'"),
        (("--base", "xiaoyi"), "no VITS voice"),
        (("--language", "zh"), "reads en, not 'zh'"),
    ],
)
def test_a_base_that_cannot_be_trained(
    command: Command, recordings: str, tmp_path: Path, words: tuple[str, ...], told: str
):
    (tmp_path / "tiny").mkdir()
    coqui_voice(tmp_path / "tiny")
    add_voice(tmp_path / "tiny", name="tiny")
    result = command("train", "voice", recordings, "--out", str(tmp_path / "out"), "--base", "tiny", *words)
    assert result.exit_code == 1
    assert told in result.stderr
