"""The folder of a run with XTuner: its config, its data, its base, and what came of it.

| path | what it is |
| --- | --- |
| `config.py` | XTuner's config |
| `data.jsonl` | the data in the form that the config names |
| `base/` | links to the model, in the form of XTuner's transformers |
| `run.json`, `training.yaml`, `data.json` | how it was made |
| `work/` | XTuner's own: checkpoints, logs, answers |
| `logs/` | what each tool said |
| `adapter-xtuner/`, `adapter/` | the adapter with XTuner's names of the layers, and with those of the chat's model |
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elysia_chat.configs.files import write_text
from elysia_chat.training.xtuner.errors import XtunerError

CONFIG, DATA, BASE, WORK, LOGS = "config.py", "data.jsonl", "base", "work", "logs"
XTUNER_ADAPTER, ADAPTER = "adapter-xtuner", "adapter"
_RECORD = "run.json"


@dataclass(frozen=True)
class RunRecord:
    """How a run was made.

    Attributes:
        recipe: its name.
        base: folder of the model on this machine.
        base_name: what the model is called.
        internlm2: whether it is InternLM2 as it was published, not the Llama of the chat.
        bits: 4 or 16.
        template: XTuner's prompt template; "" for pre-training.
        format: of the data.
        records: of the data.
        left_out: examples that were too long.
        iterations: of the whole training in one process, at least; 0 where the config gives their number.
        warmup: the config's share of them.
        epochs: passes over the data.
        deepspeed: what the preset says of it.
    """

    recipe: str
    base: str
    base_name: str
    internlm2: bool
    bits: int
    template: str
    format: str
    records: int
    left_out: int
    iterations: int
    warmup: float
    epochs: int
    deepspeed: str = ""


def write_record(folder: Path, record: RunRecord) -> None:
    """Write down how a run was made."""
    write_text(folder / _RECORD, json.dumps(asdict(record), ensure_ascii=False, indent=2) + "\n")


def read_record(folder: Path) -> RunRecord:
    """Return how a run was made.

    Raises:
        XtunerError: the folder is none of `train xtuner config`.
    """
    try:
        record = RunRecord(**json.loads((folder / _RECORD).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        msg = f"{folder} is no run of XTuner: make one with `elysia-chat train xtuner config PRESET --out {folder}`."
        raise XtunerError(msg) from error
    if not (folder / CONFIG).is_file():
        msg = f"{folder} has no {CONFIG}: make it anew with `elysia-chat train xtuner config`."
        raise XtunerError(msg)
    return record


def newest_checkpoint(folder: Path) -> Path | None:
    """Return the newest checkpoint of a run, a file or DeepSpeed's folder, or None where there is none."""
    work = folder / WORK
    try:
        named = Path((work / "last_checkpoint").read_text(encoding="utf-8").strip())
    except OSError:
        named = Path()
    if named.name and (work / named.name).exists():
        # By its name alone: the run may have been moved.
        return work / named.name
    found = sorted(work.glob("iter_*.pth"), key=lambda path: int(path.stem.partition("_")[2]))
    return found[-1] if found else None


def history(folder: Path) -> list[dict[str, Any]]:
    """Return what was logged: iterations with their loss, seconds an iteration, and memory in MB where a GPU is used.

    Of iterations that were made twice, since the run was resumed, the later ones count.
    """
    entries: dict[int, dict[str, Any]] = {}
    for file in sorted((folder / WORK).glob("*/vis_data/scalars.json")):
        for line in file.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
                place = int(entry["step"])
            except (ValueError, KeyError, TypeError):
                continue
            if isinstance(entry.get("loss"), float) and math.isfinite(entry["loss"]):
                entries[place] = entry
    return [entries[place] for place in sorted(entries)]


def summary(entries: list[dict[str, Any]]) -> Mapping[str, Any]:
    """Return a run's figures from its log."""
    if not entries:
        return {"iterations": 0, "loss": None, "seconds_per_iteration": None, "peak_memory_mb": None}
    last = entries[-max(1, len(entries) // 10) :]
    times = sorted(entry["time"] for entry in entries if "time" in entry)
    return {
        "iterations": int(entries[-1]["step"]),
        "loss": round(sum(entry["loss"] for entry in last) / len(last), 5),
        "seconds_per_iteration": round(times[len(times) // 2], 5) if times else None,
        "peak_memory_mb": max((entry.get("memory", 0) for entry in entries), default=0) or None,
    }
