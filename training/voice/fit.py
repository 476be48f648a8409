"""Fine-tuning: coqui-tts's GAN training of a VITS voice, from the weights of one that can be spoken with already."""

import json
import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.training.errors import DivergedError
from elysia_chat.training.voice.errors import VoiceRunError
from elysia_chat.training.voice.preparation import Prepared
from elysia_chat.voice import vits_model
from elysia_chat.voice.registry import VOICE_FILE, VoiceInfo
from elysia_chat.voice.torchaudio_standin import import_coqui
from elysia_chat.voice.vits_readers import COQUI

RUN, VOICE, LOSSES, SAMPLES = "run", "voice", "losses.jsonl", "samples"
Progress = Callable[[int, Mapping[str, float]], None]
"""Called after each epoch with the step and the mean losses."""


@dataclass(frozen=True)
class VoiceTraining:
    """How to train.

    Attributes:
        epochs: passes over the recordings.
        max_steps: stop after so many steps, those before a resume included; 0: none but the epochs.
        minutes: stop after so many; 0: no limit.
        batch_size: recordings a step.
        learning_rate: of generator and discriminator.
        save_steps: between checkpoints; the last two are kept.
        sample_steps: between samples.
        half: mixed precision in bfloat16, on a GPU.
        seed: of everything random.
    """

    epochs: int = 100
    max_steps: int = 0
    minutes: float = 0.0
    batch_size: int = 16
    learning_rate: float = 1e-4
    save_steps: int = 1000
    sample_steps: int = 500
    half: bool = False
    seed: int = 1


@dataclass(frozen=True)
class BaseVoice:
    """The voice that is trained further.

    Attributes:
        info: what is known of it.
        folder: with its weights and configuration.
        speaker: whose voice the recordings are to become, where it has several.
    """

    info: VoiceInfo
    folder: Path
    speaker: str | None = None


@dataclass(frozen=True)
class VoiceRun:
    """What a run made.

    Attributes:
        voice: folder of the voice, which `voices add` takes over.
        steps: done in all.
        losses: means of each epoch: "step" and one number for each loss.
        samples: sound files that the voice spoke as it learned.
    """

    voice: Path
    steps: int
    losses: tuple[dict[str, float], ...]
    samples: tuple[Path, ...]


class _FinishedError(Exception):
    """The limit of steps or minutes is reached."""


def train_voice(
    base: BaseVoice,
    prepared: Prepared,
    out: Path,
    training: VoiceTraining,
    *,
    resume: bool = False,
    samples: tuple[str, ...] = (),
    progress: Progress | None = None,
) -> VoiceRun:
    """Train a voice on prepared recordings.

    Args:
        base: what to begin with.
        prepared: the recordings.
        out: folder for checkpoints and TensorBoard logs (`run-…`), samples, losses and the voice.
        training: how.
        resume: go on from the newest checkpoint in `out`.
        samples: sentences, as symbols, that the voice speaks as it learns.
        progress: told of each epoch.

    Raises:
        VoiceRunError: there is nothing to resume from, or the base cannot be trained.
        DivergedError: a loss is no longer a number.
        VoiceFolderError: the base voice is damaged.
    """
    import torch

    import_coqui("trainer")
    from trainer import Trainer, TrainerArgs

    ensure_dir(out)
    before = _newest_run(out) if resume else None
    config = _config(base, out, training)
    model = _model(base, config)
    watch = _Watch(out, training, samples, _speaker_number(model, base.speaker), progress)
    _quiet_trainer()
    trainer = Trainer(
        TrainerArgs(continue_path=str(before) if before else ""),
        model.config,
        output_path=str(out),
        model=model,
        train_samples=[_sample(prepared.folder / name, text, base) for name, text in prepared.samples],
        eval_samples=[],
        parse_command_line_args=False,
        callbacks={"on_train_step_end": watch.step, "on_epoch_end": watch.epoch},
        gpu=0 if torch.cuda.is_available() else None,
    )
    _run(trainer)
    return _finish(trainer, base, config, out, watch)


def _run(trainer: Any) -> None:
    """Train until the end, a limit or Ctrl-C; a checkpoint is written whichever it is."""
    try:
        # Its public fit() ends the process after an error and after Ctrl-C.
        trainer._fit()
    except _FinishedError:
        pass
    except KeyboardInterrupt as error:
        trainer.save_checkpoint()
        msg = f"Stopped at step {trainer.total_steps_done}; go on with --resume."
        raise VoiceRunError(msg) from error
    trainer.save_checkpoint()


def _finish(trainer: Any, base: BaseVoice, config: Mapping[str, Any], out: Path, watch: "_Watch") -> VoiceRun:
    watch.speak(trainer)
    folder = ensure_dir(out / VOICE)
    model = trainer.model.cpu().eval()
    vits_model.save(model, {**config, "model_args": {**config["model_args"], "init_discriminator": False}}, folder)
    info = base.info.model_copy(
        update={
            "name": out.resolve().name,
            "source": f"fine-tuned from {base.info.name}",
            "licence": "",
            "fingerprint": "",
        }
    )
    (folder / VOICE_FILE).write_text(VoiceInfo(**info.model_dump()).model_dump_json(indent=2) + "\n", encoding="utf-8")
    trainer.dashboard_logger.finish()
    return VoiceRun(folder, trainer.total_steps_done, tuple(watch.losses), tuple(watch.written))


def _config(base: BaseVoice, out: Path, training: VoiceTraining) -> dict[str, Any]:
    content = vits_model.read_config(base.folder / vits_model.CONFIG)
    symbols = {} if base.info.cleaner == COQUI else {"use_phonemes": False, "phonemizer": None, "text_cleaner": None}
    decay = {"gamma": 0.999875, "last_epoch": -1}
    return {
        **content,
        **symbols,
        "run_name": RUN,
        "output_path": str(out),
        "batch_size": training.batch_size,
        "epochs": training.epochs,
        "lr_gen": training.learning_rate,
        "lr_disc": training.learning_rate,
        "lr_scheduler_gen_params": decay,
        "lr_scheduler_disc_params": decay,
        "mixed_precision": training.half,
        "precision": "bf16",
        "training_seed": training.seed,
        "save_step": training.save_steps,
        "save_n_checkpoints": 2,
        "save_best_after": 10**9,
        "print_step": 10**9,
        "plot_step": 50,
        "run_eval": False,
        "test_delay_epochs": 10**9,
        "test_sentences": [],
        "num_loader_workers": 0,
        "compute_input_seq_cache": False,
        "shuffle": True,
    }


def _model(base: BaseVoice, config: Mapping[str, Any]) -> Any:
    tensors = vits_model.read_weights(base.folder / vits_model.WEIGHTS)["model"]
    phonemes = base.info.cleaner == COQUI
    return vits_model.make_network(config, tensors, str(base.folder), phonemes=phonemes, discriminator=True)


def _sample(path: Path, text: str, base: BaseVoice) -> dict[str, Any]:
    return {
        "text": text,
        "audio_file": str(path),
        "speaker_name": base.speaker or base.info.speaker or "speaker",
        "root_path": str(path.parent),
        "language": "",
        "audio_unique_name": path.name,
    }


def _speaker_number(model: Any, speaker: str | None) -> int | None:
    names = list(model.config.speakers or ()) if hasattr(model, "emb_g") else []
    if not names:
        return None
    return names.index(speaker) if speaker in names else 0


def _newest_run(out: Path) -> Path:
    found = [path for path in out.glob(f"{RUN}-*") if any(path.glob("checkpoint_*.pth"))]
    if not found:
        msg = f"There is no checkpoint to resume from in {out}."
        raise VoiceRunError(msg)
    return max(found, key=lambda path: path.stat().st_mtime)


def _quiet_trainer() -> None:
    logging.getLogger("trainer").setLevel(logging.WARNING)


class _Watch:
    """Looks on as a voice learns: limits, losses and samples."""

    def __init__(
        self,
        out: Path,
        training: VoiceTraining,
        sentences: tuple[str, ...],
        speaker: int | None,
        progress: Progress | None,
    ) -> None:
        self.losses: list[dict[str, float]] = []
        self.written: list[Path] = []
        self._out, self._training, self._sentences, self._speaker = out, training, sentences, speaker
        self._progress = progress
        self._spoken = -1
        self._started = time.monotonic()

    def step(self, trainer: Any) -> None:
        """After a step: look at the numbers, speak, and stop at a limit."""
        done, training = trainer.total_steps_done, self._training
        broken = [name for name, value in _means(trainer).items() if not math.isfinite(value)]
        if broken:
            msg = f"{broken[0]} is no longer a number at step {done}. Train again with a lower --learning-rate."
            raise DivergedError(msg)
        if done % training.sample_steps == 0:
            self.speak(trainer)
        late = bool(training.minutes) and time.monotonic() - self._started >= training.minutes * 60
        if late or 0 < training.max_steps <= done:
            self.epoch(trainer)
            raise _FinishedError

    def epoch(self, trainer: Any) -> None:
        """After an epoch: write down its mean losses."""
        entry = {"step": float(trainer.total_steps_done), **_means(trainer)}
        self.losses.append(entry)
        with (self._out / LOSSES).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**entry, **asdict(self._training)} if len(self.losses) == 1 else entry) + "\n")
        if self._progress:
            self._progress(trainer.total_steps_done, entry)

    def speak(self, trainer: Any) -> None:
        """Let the voice speak the sentences, into sound files and TensorBoard."""
        import torch

        from elysia_chat.voice.audio import Audio, encode

        model, step = trainer.model, trainer.total_steps_done
        if step == self._spoken:
            return
        self._spoken = step
        folder = ensure_dir(self._out / SAMPLES)
        model.eval()
        for number, sentence in enumerate(self._sentences):
            ids = torch.tensor([model.tokenizer.text_to_ids(sentence)], device=model.device)
            speaker = None if self._speaker is None else torch.tensor([self._speaker], device=model.device)
            made = model.inference(ids, {"x_lengths": None, "speaker_ids": speaker})["model_outputs"]
            wave = made.reshape(-1).float().cpu().numpy()
            rate = int(model.config.audio.sample_rate)
            path = folder / f"{step:07d}-{number}.wav"
            path.write_bytes(encode(Audio(wave, rate), "wav"))
            trainer.dashboard_logger.add_audio(f"sample {number}", wave, step, rate)
            self.written.append(path)
        model.train()


def _means(trainer: Any) -> dict[str, float]:
    """Return the mean of each loss in this epoch so far."""
    kept = trainer.keep_avg_train.avg_values if trainer.keep_avg_train else {}
    return {name.removeprefix("avg_"): float(value) for name, value in kept.items() if "loss" in name}
