"""XTuner and this project's trainer on the same data, model and settings: losses, tokens a second, memory.

    python benchmarks/trainers.py                                   tiny, on a CPU, a few minutes
    python benchmarks/trainers.py --shape internlm2-1.8b --bits 4 --json trainers.json --picture trainers.png
    python benchmarks/trainers.py --xtuner-python PYTHON --xtuner-path FOLDER   where XTuner is installed elsewhere

The model has random weights and learns Elysia's dialogues with the settings of `internlm2-chat-1.8b-qlora`. One thing
differs by design: XTuner packs examples so that they see one another and are cut where a sequence ends, this project
keeps them whole and masks them from one another. A third run, `unmasked`, is this trainer with XTuner's way of
packing. Losses are means over ten iterations, as XTuner logs them; speed is that of the median iteration.
"""

import argparse
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import numpy as np
from _random_models import SHAPES, write_data, write_model

from elysia_chat.training.tokens import Encoded
from elysia_chat.training.xtuner.environment import find_environment

PRESET = "internlm2-chat-1.8b-qlora"
WINDOW = 10
TRAINERS = ("ours", "unmasked", "xtuner")
NAMES = {"ours": "this project", "unmasked": "this project, packed as XTuner does", "xtuner": "XTuner"}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--bits", type=int, choices=(4, 16), default=16)
    parser.add_argument("--steps", type=int, default=20, help="of the optimiser")
    parser.add_argument("--tokens", type=int, help="of a sequence; unset: 2048, tiny 256")
    parser.add_argument("--accumulation", type=int, default=4)
    parser.add_argument("--learning-rate", type=float, help="unset: 2e-4, tiny 1e-2")
    parser.add_argument("--only", choices=TRAINERS, help="one of them alone")
    parser.add_argument("--folder", type=Path, help="to keep everything in; unset: a temporary one")
    parser.add_argument("--xtuner-python", help="an interpreter that has XTuner; unset: the data folder's environment")
    parser.add_argument("--xtuner-path", help="folder that is put on that interpreter's path")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "NAME"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    tiny = options.shape == "tiny"
    options.tokens = options.tokens or (256 if tiny else 2048)
    options.learning_rate = options.learning_rate or (1e-2 if tiny else 2e-4)
    if options.worker:
        ours(Path(options.worker[0]), options.worker[1], options)
        return
    if options.folder:
        report = compare(options.folder, options)
    else:
        with tempfile.TemporaryDirectory() as folder:
            report = compare(Path(folder), options)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.picture:
        draw(report, options.picture)


def compare(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    if not (folder / "model").exists():
        write_model(options.shape, folder / "model", dtype)
    # An example has some 50 tokens; XTuner drops what is left of the last sequence.
    needed = options.steps * options.accumulation * options.tokens // 20
    write_data(folder / "data.jsonl", needed)
    found: dict[str, Any] = {}
    for name in TRAINERS if options.only is None else (options.only,):
        if name == "xtuner" and not options.xtuner_python and find_environment().state != "ready":
            print("xtuner: left out, its environment is not there (make xtuner)", file=sys.stderr)
        elif name == "xtuner":
            found[name] = xtuner(folder, options)
        else:
            subprocess.run([sys.executable, __file__, *sys.argv[1:], "--worker", str(folder), name], check=True)
            found[name] = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    return {
        "shape": options.shape,
        "bits": options.bits,
        "steps": options.steps,
        "tokens": options.tokens,
        "accumulation": options.accumulation,
        "learning_rate": options.learning_rate,
        "device": torch.cuda.get_device_name(0) if torch.cuda.is_available() else platform.machine(),
        "trainers": found,
    }


def changes(folder: Path, options: argparse.Namespace) -> list[str]:
    """Return what differs from the preset."""
    import torch

    cuda = torch.cuda.is_available()
    return [
        f"model.name={folder / 'model'}",
        f"model.bits={options.bits}",
        f"model.dtype={'bfloat16' if cuda else 'float32'}",
        f"data.train={folder / 'data.jsonl'}",
        f"data.max_tokens={options.tokens}",
        f"train.batch_tokens={options.tokens}",
        f"train.accumulation={options.accumulation}",
        f"train.learning_rate={options.learning_rate}",
        f"train.max_steps={options.steps}",
        "train.log_steps=1",
        f"train.device={'cuda' if cuda else 'cpu'}",
        "evaluate.max_new_tokens=1",
        "train.save_steps=100000",
    ]


def ours(folder: Path, name: str, options: argparse.Namespace) -> None:
    """Train with this project's trainer, in a process of its own."""
    import torch

    from elysia_chat.training import run
    from elysia_chat.training.presets import load_preset

    if name == "unmasked":
        run.join = cut
    shutil.rmtree(folder / name, ignore_errors=True)
    losses: list[float] = []
    times: list[float] = []

    def told(_step: int, _total: int, loss: float | None) -> None:
        if loss is not None:
            losses.append(loss)
            times.append(time.perf_counter())

    result = run.run_training(load_preset(PRESET, changes(folder, options)), folder / name, progress=told)
    seconds = statistics.median(after - before for before, after in pairwise(times))
    # Its sequences hold whole examples, and are not always full.
    length = result.facts["tokens"] / result.facts["sequences"]
    width = max(1, WINDOW // options.accumulation)
    curve = [statistics.fmean(losses[max(0, at + 1 - width) : at + 1]) for at in range(len(losses))]
    report = {
        "loss": [[at + 1, round(loss, 5)] for at, loss in enumerate(curve)],
        "tokens_per_second": round(options.accumulation * length / seconds, 1),
        "peak_memory_gb": result.facts["peak_memory_gb"],
        "optimiser": "paged 8-bit AdamW" if options.bits == 4 and torch.cuda.is_available() else "AdamW",
        "versions": result.facts["versions"],
    }
    (folder / f"{name}.json").write_text(json.dumps(report), encoding="utf-8")


def cut(items: Sequence[Encoded], max_tokens: int) -> list[Encoded]:
    """Join examples end to end and cut them into full sequences, as XTuner's Packer does."""
    ids, target = (np.concatenate([getattr(item, part) for item in items]) for part in ("ids", "target"))
    nothing, places = np.zeros(max_tokens, dtype=np.int32), np.arange(max_tokens, dtype=np.int32)
    return [
        Encoded(ids[start : start + max_tokens], nothing, nothing, places, target[start : start + max_tokens], 1)
        for start in range(0, len(ids) - max_tokens + 1, max_tokens)
    ]


def xtuner(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train with XTuner, in its own environment."""
    from elysia_chat.training.xtuner import run_folder, tools
    from elysia_chat.training.xtuner.commands import write_config
    from elysia_chat.training.xtuner.environment import ready_environment

    run = folder / "xtuner"
    shutil.rmtree(run, ignore_errors=True)
    write_config(PRESET, changes(folder, options), run)
    environment = given(options, folder) if options.xtuner_python else ready_environment()
    words = ["train", "config.py", "--work-dir", "work", "--cfg-options", "custom_hooks.1.every_n_iters=100000"]
    tools.run_tool(environment, words, run, folder / "xtuner.log")
    entries = run_folder.history(run)
    ends = [entry for entry in entries if entry["step"] % options.accumulation == 0]
    # XTuner's time is a mean over ten iterations too; the first ones are slower.
    steady = [entry["time"] for entry in entries[WINDOW:]] or [entry["time"] for entry in entries]
    memory = max((entry.get("memory", 0) for entry in entries), default=0)
    return {
        "loss": [[entry["step"] // options.accumulation, round(entry["loss"], 5)] for entry in ends],
        "tokens_per_second": round(options.tokens / statistics.median(steady), 1),
        "peak_memory_gb": round(memory * 2**20 / 1e9, 3) if memory else None,
        "optimiser": "AdamW",
        "versions": environment.versions,
    }


def given(options: argparse.Namespace, folder: Path) -> Any:
    """Return an environment around an interpreter that has XTuner."""
    from elysia_chat.training.xtuner.environment import Environment

    program = folder / "environment" / "bin" / "python"
    program.parent.mkdir(parents=True, exist_ok=True)
    path = f"export PYTHONPATH={options.xtuner_path}\n" if options.xtuner_path else ""
    program.write_text(f'#!/bin/sh\n{path}exec {options.xtuner_python} "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    return Environment(folder / "environment", "ready", {})


def show(report: dict[str, Any]) -> None:
    print(f"{report['shape']}, {report['bits']} bits, {report['device']}, {report['tokens']} tokens a sequence")
    print(f"{'trainer':10}{'optimiser':>20}{'tokens/s':>12}{'peak GB':>10}{'loss first':>12}{'last':>8}")
    for name, found in report["trainers"].items():
        memory = "" if found["peak_memory_gb"] is None else f"{found['peak_memory_gb']:.2f}"
        first, last = found["loss"][0][1], found["loss"][-1][1]
        speed = found["tokens_per_second"]
        print(f"{name:10}{found['optimiser']:>20}{speed:>12,.0f}{memory:>10}{first:>12.3f}{last:>8.3f}")


def draw(report: dict[str, Any], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for name, found in report["trainers"].items():
        axes.plot(*zip(*found["loss"], strict=True), label=NAMES[name])
    axes.set_xlabel("step")
    axes.set_ylabel("loss, mean of ten iterations")
    axes.grid(alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
