"""The embedded reranker: the embedded embedding model, changed by this project's factors into a cross-encoder.

On first use it becomes a sentence-transformers folder in the data folder, once, under a lock.
"""

import hashlib
import json
import shutil
import tempfile
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path

from filelock import FileLock

from elysia_chat.configs.paths import ensure_dir, models_dir
from elysia_chat.kb.embedded_e5 import MODEL_IDENTITY, checked_weights, plain_encoder
from elysia_chat.kb.embeddings import without_progress_bars
from elysia_chat.kb.errors import RerankerError
from elysia_chat.kb.factors import add_factors

FOLDER = "elysia-reranker"
FACTORS = "reranker.safetensors"
_STAMP = "conversion.json"
_NEEDED = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", _STAMP)


def embedded_reranker_folder() -> Path:
    """Return the folder of the embedded reranker, making it on first use (some seconds).

    Raises:
        RerankerError: the factors are not there.
        EmbeddingModelError: the factors do not fit, the package of the weights is missing, or its file is corrupt.
        FolderNotWritableError: the data folder cannot be written.
    """
    folder = models_dir() / FOLDER
    if not has_factors():
        msg = (
            f"The embedded reranker's weights (kb/adapters/{FACTORS}) are not here: install elysia-chat again, or "
            "do without them: --set retrieval.reranker=none"
        )
        raise RerankerError(msg)
    with as_file(_factors()) as factors:
        identity = f"{MODEL_IDENTITY} {hashlib.sha256(factors.read_bytes()).hexdigest()}"
        if _is_complete(folder, identity):
            return folder
        parent = ensure_dir(models_dir())
        with FileLock(parent / f".{FOLDER}.lock"):
            if not _is_complete(folder, identity):
                _make(factors, identity, folder)
    return folder


def has_factors() -> bool:
    """Tell whether the factors are part of this installation."""
    return _factors().is_file()


def _factors() -> Traversable:
    return files(__package__) / "adapters" / FACTORS


def _is_complete(folder: Path, identity: str) -> bool:
    if not all((folder / name).is_file() for name in _NEEDED):
        return False
    try:
        return bool(json.loads((folder / _STAMP).read_text(encoding="utf-8"))["identity"] == identity)
    except (ValueError, KeyError, TypeError):
        return False


def _make(factors: Path, identity: str, folder: Path) -> None:
    """Write the folder under a temporary name and rename it, so that a half-written one is never seen."""
    from transformers import BertForSequenceClassification

    encoder, tokenizer = plain_encoder(checked_weights())
    encoder.config.num_labels = 1
    model = BertForSequenceClassification(encoder.config)
    model.bert = encoder
    state = dict(model.state_dict())
    add_factors(state, factors)
    model.load_state_dict(state)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{FOLDER}-") as temporary:
        made = Path(temporary) / FOLDER
        with without_progress_bars():
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        stamp = {"identity": identity, "license": "MIT"}
        (made / _STAMP).write_text(json.dumps(stamp, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            shutil.rmtree(folder)
        made.rename(folder)
