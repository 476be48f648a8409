"""Models as GGUF files: made once from their folders for llama.cpp, or brought along; and the tokenizers in them.

What is made is kept in the data folder. An adapter is merged first, into the 16-bit weights. A file belongs to exactly
one state of folder and adapter: where one of them changes, another file is made and the old one goes.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from elysia_chat.configs.files import check_free, fresh_folder
from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.llm.adapter_files import CONFIG, weights_file
from elysia_chat.llm.errors import GgufError, UnknownModelError
from elysia_chat.llm.gguf import Kind, export_gguf
from elysia_chat.llm.loading import load_model, quiet_progress_bars

FOLDER = "gguf"
# Raised whenever another file would be written from the same weights, so that older files are made again.
RECIPE = 1
_DIGEST_LENGTH = 12
_MAGIC = b"GGUF"

Progress = Callable[[float, str], None]


def gguf_path(folder: Path, adapter: Path | None = None, kind: Kind = "q8_0") -> Path:
    """Return where the GGUF file of a model is kept, whether it has been made or not.

    Args:
        folder: the model's, with safetensors.
        adapter: PEFT folder that is merged into it.
        kind: bits of its weights.
    """
    digest = hashlib.sha256(f"{RECIPE} {kind}".encode())
    for path in _sources(folder, adapter):
        status = path.stat()
        digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
    return models_dir() / FOLDER / f"{_stem(folder, adapter, kind)}{digest.hexdigest()[:_DIGEST_LENGTH]}.gguf"


def gguf_file(
    folder: Path, adapter: Path | None = None, kind: Kind = "q8_0", progress: Progress = lambda _share, _what: None
) -> Path:
    """Return the GGUF file of a model, making it first where that has not been done.

    Args:
        folder: the model's, with safetensors.
        adapter: PEFT folder that is merged into it.
        kind: bits of its weights.
        progress: told how far the work is; not called where there is nothing to do.

    Raises:
        GgufError: the model's kind cannot be written as GGUF, or the disk has no room.
        ModelLoadError: the folder is no complete model.
        AdapterError: the adapter cannot be read or belongs to another model.
    """
    file = gguf_path(folder, adapter, kind)
    if file.is_file():
        return file
    import filelock

    ensure_dir(file.parent)
    with filelock.FileLock(file.parent / f".{folder.name}.lock"):
        if not file.is_file():
            _make(folder, adapter, kind, file, progress)
            _remove_older(file, _stem(folder, adapter, kind))
    return file


def find_gguf(name: str) -> Path:
    """Return the GGUF file that a name means: a path, or a file among those in the data folder.

    Raises:
        UnknownModelError: there is none.
        GgufError: it is no GGUF file.
    """
    for file in (Path(name).expanduser(), models_dir() / FOLDER / name):
        if file.is_file():
            with file.open("rb") as start:
                if start.read(len(_MAGIC)) != _MAGIC:
                    msg = f"{file} is no GGUF file."
                    raise GgufError(msg)
            return file
    msg = f"There is no GGUF file '{name}': give its path."
    raise UnknownModelError(msg)


def gguf_tokenizer_folder(file: Path) -> Path:
    """Return a folder with the tokenizer that a GGUF file holds, writing it first where that has not been done.

    Raises:
        GgufError: the tokenizer cannot be read.
    """
    status = file.stat()
    digest = hashlib.sha256(f"{RECIPE} {file.resolve()} {status.st_size} {status.st_mtime_ns}".encode()).hexdigest()
    folder = models_dir() / FOLDER / f"{file.stem}-tokenizer-{digest[:_DIGEST_LENGTH]}"
    if folder.is_dir():
        return folder
    import filelock

    ensure_dir(folder.parent)
    with filelock.FileLock(folder.parent / f".{file.stem}.lock"):
        if not folder.is_dir():
            tokenizer = _read_tokenizer(file)
            with fresh_folder(folder) as (fresh, finish):
                tokenizer.save_pretrained(fresh)
                finish()
    return folder


def _read_tokenizer(file: Path) -> Any:
    from gguf import GGUFReader
    from transformers import AutoTokenizer

    try:
        fields = GGUFReader(file).fields
        architecture = str(fields["general.architecture"].contents())
        limit = fields.get(f"{architecture}.context_length")
        tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    except (OSError, ValueError, KeyError, IndexError, NotImplementedError) as error:
        msg = f"{file} is cut off or damaged, or its tokenizer is of an unknown kind: copy the file again."
        raise GgufError(msg) from error
    if limit is not None:
        tokenizer.model_max_length = int(limit.contents())
    return tokenizer


def _make(folder: Path, adapter: Path | None, kind: Kind, file: Path, progress: Progress) -> None:
    def report(share: float) -> None:
        progress(0.3 + 0.7 * share, f"writing {folder.name} for llama.cpp (once)")

    if adapter is None:
        export_gguf(folder, file, kind, name=folder.name, overwrite=True, progress=report)
        return
    check_free(file, 2 * sum(path.stat().st_size for path in folder.glob("*.safetensors")), GgufError)
    progress(0.0, f"merging the adapter {adapter.name} (once)")
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=file.parent) as temporary, quiet_progress_bars():
        merged = Path(temporary) / folder.name
        model, tokenizer = load_model(str(folder), adapter, "bfloat16", "cpu")
        model.save_pretrained(merged)
        tokenizer.save_pretrained(merged)
        del model
        export_gguf(merged, file, kind, name=folder.name, overwrite=True, progress=report)


def _sources(folder: Path, adapter: Path | None) -> Iterator[Path]:
    for pattern in ("*.safetensors", "*.json"):
        yield from sorted(folder.glob(pattern))
    if adapter is not None:
        yield from (path for path in (adapter / CONFIG, weights_file(adapter)) if path.is_file())


def _stem(folder: Path, adapter: Path | None, kind: Kind) -> str:
    return f"{folder.name}-{adapter.name if adapter is not None else 'plain'}-{kind}-"


def _remove_older(file: Path, stem: str) -> None:
    for other in file.parent.glob(f"{stem}*.gguf"):
        if other != file and len(other.stem) == len(file.stem):
            other.unlink(missing_ok=True)
