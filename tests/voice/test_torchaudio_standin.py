"""The stand-in for torchaudio: coqui-tts can be imported with it, and nobody else sees it."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from elysia_chat.voice import torchaudio_standin as standin

COQUI = """
import importlib.util, sys, types
from elysia_chat.voice.torchaudio_standin import import_coqui, works

vits = import_coqui("TTS.tts.models.vits")
assert vits.Vits and vits.torchaudio.transforms.Resample
assert import_coqui("TTS.tts.models.vits") is vits
left = [name for name in sys.modules if name.partition(".")[0] in ("torchaudio", "torchcodec")]
print(works() or (not left and importlib.util.find_spec("torchaudio") is None))
"""


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A torchaudio that is installed but cannot be loaded, as a CUDA build beside a CPU torch."""
    (tmp_path / "torchaudio").mkdir()
    source = "from . import part\nraise OSError('libcudart.so.13: cannot open shared object file')\n"
    (tmp_path / "torchaudio" / "__init__.py").write_text(source, encoding="utf-8")
    (tmp_path / "torchaudio" / "part.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))


@pytest.fixture
def working(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    for name in standin.NAMES:
        (tmp_path / f"{name}.py").write_text("real = True\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in standin.NAMES:
        sys.modules.pop(name, None)


def test_coqui_can_be_imported_and_no_stand_in_stays():
    # Others, such as transformers, ask whether torchaudio can be found, and would take the stand-in for it.
    done = subprocess.run([sys.executable, "-c", COQUI], capture_output=True, text=True, check=True)
    assert done.stdout.split()[-1] == "True"


@pytest.mark.usefixtures("broken")
def test_a_torchaudio_that_cannot_be_loaded_is_replaced_for_a_while():
    assert not standin.works()
    with standin.stand_in() as replaced:
        assert replaced
        assert sys.modules["torchaudio"].load is standin.load
        assert sys.modules["torchaudio"].__spec__ is not None
    assert not any(name.partition(".")[0] in standin.NAMES for name in sys.modules)


@pytest.mark.usefixtures("working")
def test_a_working_torchaudio_is_left_alone():
    assert standin.works()
    with standin.stand_in() as replaced:
        assert not replaced
        assert sys.modules["torchaudio"].real
    assert sys.modules["torchaudio"].real


def test_load_and_save(tmp_path: Path):
    wave = torch.sin(torch.arange(2000) / 9).mul(0.5).repeat(2, 1)
    standin.save(tmp_path / "a.wav", wave, 16_000)
    loaded, rate = standin.load(tmp_path / "a.wav")
    assert (rate, loaded.shape, loaded.dtype) == (16_000, (2, 2000), torch.float32)
    assert torch.allclose(loaded, wave, atol=2e-4)
    part, _ = standin.load(tmp_path / "a.wav", frame_offset=100, num_frames=50, channels_first=False)
    assert torch.equal(part, loaded.T[100:150])


def test_resample_keeps_pitch_and_shape(tmp_path: Path):
    tone = np.sin(2 * np.pi * 440 * np.arange(22_050) / 22_050).astype(np.float32)
    soundfile.write(tmp_path / "tone.wav", tone, 22_050)
    wave, _ = standin.load(tmp_path / "tone.wav")
    with standin.stand_in():
        from torchaudio.transforms import Resample

        made = Resample(22_050, 16_000)(wave[None])
    assert made.shape == (1, 1, 16_000)
    spectrum = np.abs(np.fft.rfft(made[0, 0].numpy()))
    assert int(spectrum.argmax()) == 440
    assert standin.resample(wave, 8000, 8000) is wave
