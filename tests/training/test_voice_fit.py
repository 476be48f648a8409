"""Two real steps of GAN training on a tiny voice, resumed for two more; the voice that comes out speaks."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from elysia_chat.training.voice.errors import VoiceRunError
from elysia_chat.training.voice.fit import BaseVoice, VoiceTraining, train_voice
from elysia_chat.training.voice.preparation import Prepared, prepare
from elysia_chat.training.voice.recordings import Recording
from elysia_chat.voice.registry import Voice
from elysia_chat.voice.vits_import import add_voice
from tests.voice.tiny_vits import coqui_voice

RATE = 22_050


@pytest.fixture
def base(tmp_path: Path) -> Voice:
    folder = tmp_path / "base"
    folder.mkdir()
    coqui_voice(folder)
    return add_voice(folder).voice


@pytest.fixture
def prepared(tmp_path: Path) -> Prepared:
    rng = np.random.default_rng(1)
    recordings = []
    for number, text in enumerate(["hello my dear friend", "what a lovely day", "let us go out", "see you soon"]):
        times = np.arange(int(1.5 * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * (180 + 40 * number) * k * times) / k for k in range(1, 6))
        path = tmp_path / f"{number}.wav"
        soundfile.write(path, 0.1 * tone + 0.003 * rng.standard_normal(len(times)), RATE)
        recordings.append(Recording(path, text))
    return prepare(recordings, tmp_path / "data", RATE, lambda text: text)


def trained(base: Voice, prepared: Prepared, out: Path, steps: int, *, resume: bool = False):
    assert base.folder is not None
    training = VoiceTraining(epochs=100, max_steps=steps, batch_size=2, save_steps=1000, sample_steps=1)
    voice = BaseVoice(base.info, base.folder)
    return train_voice(voice, prepared, out, training, resume=resume, samples=("hello",))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_two_steps_then_two_more(base: Voice, prepared: Prepared, tmp_path: Path):
    out = tmp_path / "mine"
    first = trained(base, prepared, out, 2)
    assert first.steps == 2
    assert {"loss_disc", "loss_gen", "loss_mel", "loss_kl", "loss_duration"} <= set(first.losses[-1])
    assert all(np.isfinite(list(entry.values())).all() for entry in first.losses)
    before = torch.load(base.folder / "model.pth", weights_only=True)["model"]
    after = torch.load(first.voice / "model.pth", weights_only=True)["model"]
    assert set(after) == set(before)
    changed = [name for name in before if not torch.equal(before[name], after[name])]
    assert any(name.startswith("waveform_decoder") for name in changed)
    assert any(name.startswith("text_encoder") for name in changed)
    assert all(path.stat().st_size > 1000 for path in first.samples)
    assert list(out.glob("run-*/events.out.tfevents.*"))

    second = trained(base, prepared, out, 4, resume=True)
    assert second.steps == 4
    later = torch.load(second.voice / "model.pth", weights_only=True)["model"]
    assert any(not torch.equal(after[name], later[name]) for name in after)
    assert len((out / "losses.jsonl").read_text().splitlines()) >= 2

    added = add_voice(second.voice, name="mine")
    assert added.voice.info.languages == base.info.languages
    assert added.audio.seconds > 0.1


def test_there_has_to_be_something_to_resume_from(base: Voice, prepared: Prepared, tmp_path: Path):
    with pytest.raises(VoiceRunError, match="no checkpoint to resume from"):
        trained(base, prepared, tmp_path / "nothing", 2, resume=True)


def test_the_report_lies_beside_the_sounds(prepared: Prepared):
    report = json.loads((prepared.folder / "report.json").read_text())
    assert (report["kept"], report["left_out"]) == (4, 0)
