"""XTuner's own Python environment in the data folder: found, looked at, built from the pinned file."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Literal

from elysia_chat.configs.files import check_free, write_text
from elysia_chat.configs.paths import ensure_dir, home
from elysia_chat.training.xtuner.errors import XtunerSetupError

State = Literal["missing", "ready", "outdated", "broken"]
Told = Callable[[str, int, int], None]
"""Told (what is done, packages so far, packages in all)."""

_STAMP, _LOG = "xtuner.json", "setup.log"
_PROBE = "import sys, venv, ensurepip; print(*sys.version_info[:2])"
_VERSIONS = ((3, 11), (3, 12))
_BYTES, _BYTES_CPU = 8_000_000_000, 3_000_000_000


@dataclass(frozen=True)
class Environment:
    """Where XTuner is, and how it stands.

    Attributes:
        folder: of the environment.
        state: "ready"; "outdated" where the pinned file has changed since; "broken" where building it was broken off.
        versions: of the packages that matter most.
    """

    folder: Path
    state: State
    versions: dict[str, str]

    @property
    def python(self) -> Path:
        """The environment's interpreter."""
        return self.folder / "bin" / "python"


def find_environment() -> Environment:
    """Return the environment in the data folder, built or not."""
    folder = home() / "xtuner"
    if not folder.is_dir():
        return Environment(folder, "missing", {})
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        versions, digest = dict(stamp["versions"]), stamp["requirements"]
    except (OSError, ValueError, KeyError, TypeError):
        return Environment(folder, "broken", {})
    if not (folder / "bin" / "python").exists():
        return Environment(folder, "broken", versions)
    return Environment(folder, "ready" if digest == _digest() else "outdated", versions)


def ready_environment() -> Environment:
    """Return the environment.

    Raises:
        XtunerSetupError: it is not there, or was not built to its end.
    """
    environment = find_environment()
    if environment.state in ("missing", "broken"):
        why = "is not there" if environment.state == "missing" else "was not built to its end"
        msg = f"XTuner's environment {why}: build it with `elysia-chat train xtuner setup` (or make xtuner)."
        raise XtunerSetupError(msg)
    return environment


def build_environment(
    *,
    python: str | None = None,
    torch_index: str | None = None,
    rebuild: bool = False,
    progress: Told = lambda _what, _done, _total: None,
) -> Environment:
    """Build the environment, or leave it where it is ready.

    Args:
        python: interpreter to build it with; unset: the first one that fits.
        torch_index: address of a package index to take torch from, such as that of its CPU or another CUDA build.
        rebuild: build it anew even where it is ready.
        progress: told how far it is.

    Raises:
        XtunerSetupError: no Python fits, the disk has no room, or a package cannot be installed.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = find_environment().folder
    ensure_dir(folder.parent)
    with _locked(folder):
        found = find_environment()
        if found.state == "ready" and not rebuild:
            return found
        chosen = find_python(python)
        small = torch_index is not None and torch_index.rstrip("/").endswith("cpu")
        check_free(folder, _BYTES_CPU if small else _BYTES, XtunerSetupError)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        _install(folder, chosen, torch_index, progress)
        versions = _installed_versions(folder)
        stamp = {"requirements": _digest(), "versions": versions}
        write_text(folder / _STAMP, json.dumps(stamp, indent=2) + "\n")
    return find_environment()


def find_python(given: str | None = None) -> str:
    """Return an interpreter that can make an environment that XTuner's pinned packages run in.

    Raises:
        XtunerSetupError: there is none, or the given one is none.
    """
    # Of an environment's interpreter this is the one that it was made with.
    own = getattr(sys, "_base_executable", "") or sys.executable
    candidates = [given] if given else [own, "python3.11", "python3.12", "python3"]
    for name in candidates:
        path = shutil.which(name)
        if path is not None and _version(path) in _VERSIONS:
            return path
    wanted = "Python 3.11 or 3.12 with its modules venv and ensurepip"
    if given:
        msg = f"{given} is not {wanted}, which XTuner's environment needs: give another with --python."
    else:
        msg = (
            f"XTuner's environment needs {wanted}, and none is found: install it (on Debian: apt-get install "
            "python3.11-venv), or name it with --python PATH."
        )
    raise XtunerSetupError(msg)


def _version(python: str) -> tuple[int, ...]:
    try:
        done = subprocess.run([python, "-c", _PROBE], capture_output=True, text=True, timeout=60, check=False)  # noqa: S603
    except (OSError, subprocess.TimeoutExpired):
        return ()
    return tuple(map(int, done.stdout.split())) if done.returncode == 0 else ()


def requirements() -> Path:
    """Return the pinned file."""
    return Path(str(files("elysia_chat.training.xtuner").joinpath("requirements.txt")))


def _pins() -> list[str]:
    lines = requirements().read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def _digest() -> str:
    return hashlib.sha256("\n".join(_pins()).encode()).hexdigest()


def _install(folder: Path, python: str, torch_index: str | None, progress: Told) -> None:
    pins = _pins()
    torch = next(pin for pin in pins if pin.startswith("torch=="))
    source = ["--index-url", torch_index] if torch_index else []
    pip = [str(folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--progress-bar=off"]
    pinned = ["-r", str(requirements())]
    log = folder / _LOG
    progress("making the environment", 0, len(pins))
    _run([python, "-m", "venv", str(folder)], log)
    progress("installing torch", 0, len(pins))
    # What torch needs comes with it; a build from elsewhere finds the rest in the usual index.
    _run([*pip, "-c", str(requirements()), *source, torch], log)
    count = 1
    for line in _lines([*pip, "--no-deps", *pinned], log):
        if line.startswith(("Collecting ", "Requirement already satisfied")):
            count += 1
            progress("installing XTuner", min(count, len(pins)), len(pins))
        elif line.startswith("Installing collected"):
            progress("unpacking", len(pins), len(pins))


def _run(words: Sequence[str], log: Path) -> None:
    for _line in _lines(words, log):
        pass


def _lines(words: Sequence[str], log: Path) -> Iterator[str]:
    """Yield the lines that a program writes, and keep them.

    Raises:
        XtunerSetupError: it failed; the message has its last word.
    """
    last = ""
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    with (
        log.open("a", encoding="utf-8") as kept,
        subprocess.Popen(  # noqa: S603
            list(words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", env=environment
        ) as process,
    ):
        try:
            for line in process.stdout or ():
                kept.write(line)
                if line.startswith(("ERROR", "error")):
                    last = line.strip()
                yield line
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        msg = f"XTuner's environment cannot be built: {last or 'a program failed'} (all of it: {log})"
        raise XtunerSetupError(msg)


def _installed_versions(folder: Path) -> dict[str, str]:
    code = (
        "import json; from importlib.metadata import version as v\n"
        "print(json.dumps({n: v(n) for n in ('xtuner', 'torch', 'transformers', 'bitsandbytes', 'deepspeed')}))"
    )
    words = [str(folder / "bin" / "python"), "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
    try:
        return dict(json.loads(done.stdout))
    except ValueError as error:
        msg = f"XTuner's environment cannot be used: {done.stderr.strip().splitlines()[-1:] or 'it says nothing'}"
        raise XtunerSetupError(msg) from error


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    try:
        with FileLock(folder.with_name(f".{folder.name}.lock"), timeout=0):
            yield
    except Timeout as error:
        msg = "XTuner's environment is being built by another process: wait until it is done."
        raise XtunerSetupError(msg) from error
