"""What is written down of a run: its resolved settings, what it was trained on, and what came of it."""

import hashlib
import importlib.util
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from elysia_chat.configs.files import write_text
from elysia_chat.training.errors import CheckpointError
from elysia_chat.training.presets import Preset

SETTINGS, RESULTS, DATA, LOSS_PICTURE = "training.yaml", "results.json", "data.json", "loss.png"
_MAY_CHANGE = {"save_steps", "save_limit", "log_steps", "device", "seconds", "compile", "non_finite_patience"}
_PATHS = (("data", "train"), ("data", "test"), ("evaluate", "prompts"), ("model", "name"), ("lora", "start"))


def resolved(preset: Preset) -> dict[str, Any]:
    """Return the settings of a run without the folders of this machine."""
    content: dict[str, Any] = json.loads(json.dumps(preset.to_dict()))
    for part, key in (*_PATHS, ("train", "deepspeed")):
        content[part][key] = Path(content[part][key]).name
    return content


def write_settings(out: Path, preset: Preset, sha256: str) -> None:
    """Write down at the start of a run how it is made, for the one that goes on from its checkpoints."""
    write_text(out / SETTINGS, yaml.safe_dump(resolved(preset), allow_unicode=True, sort_keys=False))
    content = {"train": Path(preset.data.train).name, "train_sha256": sha256}
    write_text(out / DATA, json.dumps(content, ensure_ascii=False, indent=2) + "\n")


def check_unchanged(out: Path, preset: Preset, resume: bool) -> None:
    """Check that a run goes on as it began: with another rate or other data it would be another run.

    Raises:
        CheckpointError: a setting or the data differs; the message names it.
    """
    if not resume:
        return
    try:
        settings = yaml.safe_load((out / SETTINGS).read_text(encoding="utf-8"))
        data = json.loads((out / DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError) as error:
        msg = f"{out} does not say how its run began ({SETTINGS}, {DATA}): it cannot be resumed."
        raise CheckpointError(msg) from error
    now = resolved(preset)
    for part in ("model", "data", "lora", "train"):
        for key, value in now[part].items():
            before = settings.get(part, {}).get(key, value)
            if before != value and key not in _MAY_CHANGE:
                msg = (
                    f"The run in {out} began with {part}.{key}={before}, not {value}: resume it with the same "
                    "settings, or begin another from its adapter with lora.start."
                )
                raise CheckpointError(msg)
    if data.get("train_sha256") != digest(Path(preset.data.train)):
        msg = f"The run in {out} began with other data than {preset.data.train}: resume it with the same file."
        raise CheckpointError(msg)


def write_results(
    adapter: Path, out: Path, preset: Preset, facts: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> None:
    """Write settings and results beside the adapter and into the run's folder, and draw the loss."""
    settings = yaml.safe_dump(resolved(preset), allow_unicode=True, sort_keys=False)
    for folder in (adapter, out):
        write_text(folder / SETTINGS, settings)
        write_text(folder / RESULTS, json.dumps(facts, ensure_ascii=False, indent=2) + "\n")
    if has("matplotlib") and any("loss" in entry for entry in history):
        draw_loss(history, adapter / LOSS_PICTURE)


def draw_loss(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the logged losses over the steps, and those on held-out data."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, label in (("loss", "training"), ("eval_loss", "held out")):
        known = [(entry["step"], entry[key]) for entry in history if key in entry]
        if known:
            axes.plot(*zip(*known, strict=True), linewidth=1, marker="o" if key == "eval_loss" else "", label=label)
    axes.set_xlabel("step")
    axes.set_ylabel("loss on what is learned")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


def digest(path: Path) -> str:
    """Return the SHA-256 of a data file, or of all files in a folder, in the order of their names."""
    found = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as content:
            for block in iter(lambda: content.read(1 << 20), b""):
                found.update(block)
    return found.hexdigest()


def last_loss(history: Sequence[Mapping[str, Any]]) -> float:
    """Return the mean of the last tenth of the logged losses; not a number where there is none."""
    losses = [float(entry["loss"]) for entry in history if math.isfinite(entry.get("loss", math.nan))]
    latest = losses[-max(1, len(losses) // 10) :]
    return round(sum(latest) / len(latest), 5) if latest else math.nan


def last(history: Sequence[Mapping[str, Any]], key: str) -> float | None:
    """Return the last value that was logged under a name."""
    return next((round(float(entry[key]), 5) for entry in reversed(history) if key in entry), None)


def versions(preset: Preset) -> dict[str, str]:
    """Return the versions of the libraries that computed."""
    from importlib.metadata import version

    names = ["torch", "transformers", "peft", "accelerate"]
    names += ["bitsandbytes"] if preset.model.bits == 4 else []
    names += ["deepspeed"] if preset.train.deepspeed else []
    return {name: version(name) for name in names}


def has(module: str) -> bool:
    """Tell whether a module is installed."""
    return importlib.util.find_spec(module) is not None
