"""This project's trainer on one and on several GPUs: plain, with ZeRO-2 and with ZeRO-3.

    python benchmarks/several_gpus.py                                           tiny, on a CPU: that it runs
    python benchmarks/several_gpus.py --shape internlm2-1.8b --processes 1 2 --json several_gpus.json

Every row is a run of its own under torchrun: LoRA on a 16-bit model of random weights, the settings of
`internlm2-chat-1.8b-qlora`, sequences of `--tokens`. Speed is that of the median step, over all processes; memory is
that of the first one. The ways with DeepSpeed need `pip install deepspeed`, and are left out without it.
"""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from _random_models import SHAPES, write_data, write_model

PRESET = "internlm2-chat-1.8b-qlora"
WAYS = ("plain", "zero2", "zero3")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="tiny")
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2], help="one on each GPU")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--tokens", type=int, help="of a sequence; unset: 2048, tiny 256")
    parser.add_argument("--batch", type=int, default=1, help="sequences at a time")
    parser.add_argument("--accumulation", type=int, default=16, help="batches a step, in each process")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--worker", nargs=2, metavar=("FOLDER", "WAY"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.steps < 3:
        parser.error("--steps: at least 3, since the first is not counted")
    options.tokens = options.tokens or (256 if options.shape == "tiny" else 2048)
    if options.worker:
        train(Path(options.worker[0]), options.worker[1], options)
        return
    with tempfile.TemporaryDirectory() as folder:
        report = measure(Path(folder), options)
    show(report)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if not report["rows"]:
        sys.exit("No way could be measured: what went wrong stands above.")


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    import torch

    cuda = torch.cuda.is_available()
    write_model(options.shape, folder / "model", torch.bfloat16 if cuda else torch.float32)
    most = max(options.processes) * options.steps * options.accumulation * options.batch * options.tokens
    write_data(folder / "data.jsonl", most // 20)
    rows = []
    for way in options.ways:
        if way != "plain" and importlib.util.find_spec("deepspeed") is None:
            print(f"{way}: left out, deepspeed is not installed", file=sys.stderr)
            continue
        for processes in options.processes:
            try:
                rows.append({"way": way, "processes": processes, **run(folder, way, processes)})
            except subprocess.CalledProcessError as error:
                print(f"{way}, {processes}: left out, it ended with exit code {error.returncode}", file=sys.stderr)
                continue
            print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    for row in rows:
        alone = next((one["tokens_per_second"] for one in rows if (one["way"], one["processes"]) == (row["way"], 1)), 0)
        row["times_one"] = round(row["tokens_per_second"] / alone, 2) if alone else None
    device = torch.cuda.get_device_name(0) if cuda else platform.machine()
    settings = {key: getattr(options, key) for key in ("shape", "steps", "tokens", "batch", "accumulation")}
    return {"device": device, "torch": torch.__version__, **settings, "rows": rows}


def run(folder: Path, way: str, processes: int) -> dict[str, Any]:
    result = folder / f"{way}-{processes}.json"
    words = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", __file__, *sys.argv[1:]]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"), "RESULT": str(result)}
    subprocess.run([sys.executable, *words, "--worker", str(folder), way], check=True, env=environment)
    return dict(json.loads(result.read_text(encoding="utf-8")))


def train(folder: Path, way: str, options: argparse.Namespace) -> None:
    """Train in one of the processes."""
    import torch

    from elysia_chat.training.presets import load_preset
    from elysia_chat.training.run import run_training

    cuda = torch.cuda.is_available()
    preset = load_preset(
        PRESET,
        [
            f"model.name={folder / 'model'}",
            "model.bits=16",
            f"model.dtype={'bfloat16' if cuda else 'float32'}",
            f"data.train={folder / 'data.jsonl'}",
            f"data.max_tokens={options.tokens}",
            f"train.batch_tokens={options.tokens * options.batch}",
            f"train.accumulation={options.accumulation}",
            f"train.max_steps={options.steps}",
            "train.log_steps=1",
            "train.save_steps=100000",
            f"train.device={'cuda' if cuda else 'cpu'}",
            f"train.deepspeed={'' if way == 'plain' else way}",
        ],
    )
    times: list[float] = []
    losses: list[float] = []

    def told(_step: int, _total: int, loss: float | None) -> None:
        if loss is not None:
            times.append(time.perf_counter())
            losses.append(round(loss, 5))

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    result = run_training(preset, folder / f"{way}-{processes}", progress=told)
    if int(os.environ.get("RANK", "0")) == 0:
        seconds = statistics.median(after - before for before, after in pairwise(times[1:] or times))
        length = result.facts["tokens"] / result.facts["sequences"]
        tokens = processes * options.accumulation * options.batch * length
        content = {
            "tokens_per_second": round(tokens / seconds, 1),
            "seconds_per_step": round(seconds, 4),
            "peak_memory_gb": result.facts["peak_memory_gb"],
            "losses": losses,
        }
        Path(os.environ["RESULT"]).write_text(json.dumps(content), encoding="utf-8")


def show(report: dict[str, Any]) -> None:
    print(f"{report['shape']}, {report['device']}, {report['batch']} x {report['tokens']} tokens")
    print(f"{'way':8}{'processes':>10}{'tokens/s':>12}{'times one':>11}{'peak GB':>9}{'last loss':>11}")
    for row in report["rows"]:
        memory = "" if row["peak_memory_gb"] is None else f"{row['peak_memory_gb']:.2f}"
        times = "" if row["times_one"] is None else f"{row['times_one']:.2f}"
        speed, last = row["tokens_per_second"], row["losses"][-1]
        print(f"{row['way']:8}{row['processes']:>10}{speed:>12,.0f}{times:>11}{memory:>9}{last:>11.3f}")


if __name__ == "__main__":
    main()
