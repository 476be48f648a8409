"""Checkpoints and adapters that appear whole or not at all, and the newest whole one of a run."""

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

from elysia_chat.configs.files import disk_problem, fresh_folder
from elysia_chat.training.errors import CheckpointError

WEIGHTS, CONFIG, STATE = "adapter_model.safetensors", "adapter_config.json", "trainer_state.json"
_STAGE = ".checkpoint.part"


class StagedCheckpoints:
    """Gives a transformers Trainer checkpoints that are written beside their place and renamed when they are complete.

    A disk that fills up, or a process that dies, leaves the finished checkpoints as they were.
    """

    _stage: Path | None = None

    def _get_output_dir(self, trial: Any) -> str:
        trainer: Any = super()
        return str(self._stage) if self._stage is not None else str(trainer._get_output_dir(trial=trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        from safetensors import SafetensorError
        from transformers.trainer_utils import rotate_checkpoints

        trainer: Any = self
        run, step = Path(trainer.args.output_dir), trainer.state.global_step
        stage, name = run / _STAGE, f"checkpoint-{step}"
        limit, trainer.args.save_total_limit = trainer.args.save_total_limit, None
        first = trainer.args.should_save
        if first:
            shutil.rmtree(stage, ignore_errors=True)
        trainer.accelerator.wait_for_everyone()
        self._stage = stage
        try:
            super()._save_checkpoint(model, trial)  # type: ignore[misc]
            trainer.accelerator.wait_for_everyone()
            if first:
                # The trainer's own arguments, pickled: nothing reads them, and a pickle can run code.
                (stage / name / "training_args.bin").unlink(missing_ok=True)
                shutil.rmtree(run / name, ignore_errors=True)
                (stage / name).rename(run / name)
                shutil.rmtree(stage, ignore_errors=True)
        except (OSError, RuntimeError, SafetensorError) as error:
            shutil.rmtree(stage, ignore_errors=True)
            why = disk_problem(error)
            if why is None:
                raise
            msg = (
                f"Cannot write the checkpoint of step {step} to {run}: {why}. Finished checkpoints are as they were: "
                "free some space and go on with --resume."
            )
            raise CheckpointError(msg) from error
        finally:
            self._stage = None
            trainer.args.save_total_limit = limit
        if first:
            rotate_checkpoints(output_dir=str(run), save_total_limit=limit, use_mtime=False)


def newest_checkpoint(out: Path) -> Path | None:
    """Return the newest whole checkpoint of a run; one cut short is passed over."""
    found = [path for path in out.glob("checkpoint-*") if path.name.rpartition("-")[2].isdecimal()]
    newest_first = sorted(found, key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next((path for path in newest_first if is_whole(path)), None)


def is_whole(checkpoint: Path) -> bool:
    """Tell whether training can go on from a checkpoint: nothing is missing or cut short."""
    from safetensors import SafetensorError, safe_open

    try:
        json.loads((checkpoint / STATE).read_text(encoding="utf-8"))
        with safe_open(str(checkpoint / WEIGHTS), framework="pt"):
            pass
    except (OSError, ValueError, SafetensorError):
        return False
    if any(checkpoint.glob("global_step*")):
        return True
    random = checkpoint / "rng_state.pth"
    kept = (checkpoint / "optimizer.pt", checkpoint / "scheduler.pt", *([random] if random.exists() else []))
    return all(zipfile.is_zipfile(path) for path in kept)


def save_adapter(model: Any, folder: Path, base: str, weights: Any = None) -> Path:
    """Write the adapter in bfloat16, into a folder that appears whole or not at all.

    Args:
        model: with the adapter.
        folder: where to write it.
        base: name of the model it was trained on.
        weights: state dict of the model, where it is split among processes.

    Raises:
        CheckpointError: the disk is full, or the folder cannot be written.
    """
    import torch
    from peft import get_peft_model_state_dict
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    state = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in get_peft_model_state_dict(model, weights).items()
    }
    try:
        with fresh_folder(folder) as (fresh, finish):
            model.save_pretrained(str(fresh), **({} if weights is None else {"state_dict": weights}))
            save_file(state, str(fresh / WEIGHTS), metadata={"format": "pt"})
            _plain_config(fresh / CONFIG, base)
            finish()
    except (OSError, SafetensorError) as error:
        msg = f"Cannot write the adapter to {folder}: {disk_problem(error)}. The checkpoints are as they were."
        raise CheckpointError(msg) from error
    return folder


def _plain_config(path: Path, base: str) -> None:
    """Name the base model in the adapter's configuration, in place of this machine's path to it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    config["inference_mode"] = True
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (path.parent / "README.md").unlink(missing_ok=True)
