"""A tool's progress, its failures in one line, and the processes that it takes."""

import sys
from pathlib import Path

import pytest

from elysia_chat.training.xtuner import tools
from elysia_chat.training.xtuner.environment import Environment
from elysia_chat.training.xtuner.errors import XtunerError
from elysia_chat.training.xtuner.tools import command, run_tool


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    folder = tmp_path / "xtuner"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    return Environment(folder, "ready", {})


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "launch.py"
    monkeypatch.setattr(tools, "launcher", lambda: path)
    return path


def test_iterations_are_told_and_every_line_is_kept(environment: Environment, tool: Path, tmp_path: Path) -> None:
    line = "11/22 - mmengine - INFO - Iter(train) [ 20/200]  lr: 1e-04  eta: 0:00:01  time: 0.2  loss: 1.5709  norm: 2"
    tool.write_text(
        f"import os\nprint({line!r})\nprint('Iter(train) [ 30/200]  loss: nan')\n"
        "print(os.getcwd(), os.environ['HF_HUB_OFFLINE'], os.environ.get('PYTHONPATH'))\n",
        encoding="utf-8",
    )
    told: list[tuple[int, int, float | None]] = []
    said: list[str] = []
    log = tmp_path / "logs" / "train.log"
    run_tool(environment, ["train"], tmp_path, log, progress=lambda *step: told.append(step), say=said.append)
    assert told[0] == (20, 200, 1.5709)
    assert told[1][:2] == (30, 200)
    assert said[-1] == f"{tmp_path} 1 None"
    assert log.read_text(encoding="utf-8").splitlines() == said


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "raise KeyError('no such thing')",
            r"XTuner's train failed: KeyError: 'no such thing' \(all of it: .*x\.log\)",
        ),
        ("raise AssertionError('end should be larger than begin')", "raise train.warmup_share"),
        ("raise RuntimeError('CUDA out of memory. Tried')", "lower train.batch_tokens"),
        ("import sys; print('hm'); sys.exit(3)", "it ended with 3, after 'hm'"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "it ended with -9"),
    ],
)
def test_a_failure_is_one_line_with_the_logs_place(
    environment: Environment, tool: Path, tmp_path: Path, code: str, message: str
) -> None:
    tool.write_text(code, encoding="utf-8")
    with pytest.raises(XtunerError, match=message) as caught:
        run_tool(environment, ["train"], tmp_path, tmp_path / "x.log")
    assert "\n" not in str(caught.value)


def test_whoever_breaks_off_ends_the_tool(environment: Environment, tool: Path, tmp_path: Path) -> None:
    tool.write_text(
        "import time\nprint('Iter(train) [1/2] loss: 1.0', flush=True)\ntime.sleep(600)\n", encoding="utf-8"
    )

    def stop(*_step: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_tool(environment, ["train"], tmp_path, tmp_path / "x.log", progress=stop)


def test_the_processes_of_a_training(environment: Environment) -> None:
    def words(*given: str, **variables: str) -> str:
        return " ".join(command(environment, given, variables))

    assert "torch.distributed" not in words("train", "config.py")
    assert "torch.distributed" not in words("chat", "base", NPROC_PER_NODE="4")
    several = words("train", "config.py", NPROC_PER_NODE="4")
    assert "-m torch.distributed.run --standalone --nproc-per-node=4" in several
    assert several.endswith("--launcher pytorch")
    nodes = words("train", "c.py", NPROC_PER_NODE="8", NNODES="2", NODE_RANK="1", ADDR="10.0.0.1", PORT="29501")
    for part in ("--nnodes=2", "--node-rank=1", "--master-addr=10.0.0.1", "--master-port=29501"):
        assert part in nodes
    # SLURM starts the processes itself.
    assert "torch.distributed" not in words("train", "c.py", "--launcher", "slurm", NPROC_PER_NODE="8")
