"""XTuner's own tools, run in its environment: their words are kept, their progress told, a failure is one line."""

import os
import re
import subprocess
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from elysia_chat.training.xtuner.environment import Environment
from elysia_chat.training.xtuner.errors import XtunerError

Progress = Callable[[int, int, float | None], None]
"""Told (iterations done, iterations in all, loss)."""

_STEP = re.compile(r"Iter\(train\) \[\s*(\d+)/(\d+)\].*?loss: ([\d.naife+-]+)")
_PROBLEM = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b.*")
_PREFIX = re.compile(r"^\[rank\d+\]: ?")
_ADVICE: Mapping[str, str] = {
    "end should be larger than begin": "there is too little data for a warm-up: raise train.warmup_share",
    "out of memory": "lower train.batch_tokens or data.max_tokens, or use more GPUs with --deepspeed zero3",
    "No space left on device": "the disk is full",
}
_LAST_LINES = 400
_PATIENCE_S = 20
_HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


def launcher() -> Path:
    """Return the program that starts a tool."""
    return Path(str(files("elysia_chat.training.xtuner").joinpath("launch.py")))


def command(environment: Environment, words: Sequence[str], variables: Mapping[str, str] | None = None) -> list[str]:
    """Return the command line of a tool.

    Args:
        environment: XTuner's.
        words: such as "train", "config.py".
        variables: the process's; NPROC_PER_NODE and NNODES above 1 make a group of processes for `train`, with
            NODE_RANK, ADDR and PORT as XTuner reads them.
    """
    given = os.environ if variables is None else variables
    python, program = str(environment.python), str(launcher())
    nodes, each = (int(given.get(name) or 1) for name in ("NNODES", "NPROC_PER_NODE"))
    if words[0] != "train" or "--launcher" in words or (nodes == 1 and each == 1):
        return [python, program, *words]
    place = (
        ["--standalone"]
        if nodes == 1 and "PORT" not in given
        else [
            f"--nnodes={nodes}",
            f"--node-rank={given.get('NODE_RANK', '0')}",
            f"--master-addr={given.get('ADDR', '127.0.0.1')}",
            f"--master-port={given.get('PORT', '29500')}",
        ]
    )
    group = ["-m", "torch.distributed.run", *place, f"--nproc-per-node={each}"]
    return [python, *group, program, *words, "--launcher", "pytorch"]


def run_tool(
    environment: Environment,
    words: Sequence[str],
    folder: Path,
    log: Path,
    *,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> None:
    """Run a tool to its end.

    Args:
        environment: XTuner's.
        words: see `command`.
        folder: in which it runs.
        log: what it says is added to this file.
        progress: told the iterations of a training.
        say: told each line.

    Raises:
        XtunerError: it failed; the message has the last error and the log's place.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with log.open("a", encoding="utf-8") as kept, _started(environment, words, folder) as process:
        for line in process.stdout or ():
            kept.write(line)
            kept.flush()
            last.append(line.rstrip())
            if say is not None:
                say(line.rstrip())
            step = _STEP.search(line)
            if step is not None and progress is not None:
                progress(int(step[1]), int(step[2]), _number(step[3]))
    if process.returncode:
        msg = f"XTuner's {words[0]} failed: {_cause(last, process.returncode)} (all of it: {log})"
        raise XtunerError(msg)


def talk(environment: Environment, words: Sequence[str], folder: Path) -> int:
    """Run a tool with this terminal; return its exit status."""
    return subprocess.run(command(environment, words), cwd=folder, env=_variables(folder), check=False).returncode  # noqa: S603


@contextmanager
def _started(environment: Environment, words: Sequence[str], folder: Path) -> Iterator["subprocess.Popen[str]"]:
    """Start a tool with all that it starts itself; leaving early ends them all."""
    process = subprocess.Popen(  # noqa: S603
        command(environment, words),
        cwd=folder,
        env=_variables(folder),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    )
    with process:
        try:
            yield process
        except BaseException:
            _end(process)
            raise


def _end(process: "subprocess.Popen[str]") -> None:
    """End a tool; a group's first process ends the others when it is asked to, not when it is killed."""
    process.terminate()
    try:
        process.wait(timeout=_PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _variables(folder: Path) -> dict[str, str]:
    """Return the environment variables of a tool: offline, its own packages alone, caches in the run's folder."""
    kept = {key: value for key, value in os.environ.items() if key not in _HIDDEN}
    return {
        **kept,
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        # Else what a program imports is first looked for beside it; -P would not reach the processes of a group.
        "PYTHONSAFEPATH": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_CACHE": str((folder / ".cache").resolve()),
    }


def _cause(lines: Sequence[str], status: int) -> str:
    """Return the last error that a tool named, with what to do about it where that is known."""
    for sign, advice in _ADVICE.items():
        if any(sign in line for line in lines):
            return f"{sign}; {advice}"
    plain = (_PREFIX.sub("", line).strip() for line in lines)
    errors = [line for line in plain if _PROBLEM.match(line) and "ChildFailedError" not in line]
    if errors:
        return errors[-1][:300]
    return f"it ended with {status}, after '{lines[-1][:200]}'" if lines else f"it ended with {status}"


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
