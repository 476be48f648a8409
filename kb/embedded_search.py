"""The models that lore is searched with out of the box: multilingual-e5-small, changed by this project's factors.

One embeds, the other is a cross-encoder. On first use each becomes a sentence-transformers folder in the data folder.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import as_file, files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

from elysia_chat.configs.paths import models_dir
from elysia_chat.kb.embedded_e5 import E5_FILES, MODEL_IDENTITY, checked_weights, plain_encoder, save_embedder
from elysia_chat.kb.embeddings import without_progress_bars
from elysia_chat.kb.errors import EmbeddingModelError, KnowledgeBaseError, RerankerError
from elysia_chat.kb.factors import add_factors
from elysia_chat.kb.made_folder import made_folder

_RERANKER_FILES = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


@dataclass(frozen=True)
class EmbeddedModel:
    """One of the two.

    Attributes:
        name: of its folder.
        factors: file in `kb/adapters` with its low-rank changes, as `train search` writes them.
        otherwise: what to do without them.
    """

    name: str
    factors: str
    otherwise: str
    _needed: tuple[str, ...]
    _make: Callable[[Any, Any, Path, Path], None]
    _error: type[KnowledgeBaseError]

    def folder(self) -> Path:
        """Return its folder, making it on first use (some seconds).

        Raises:
            RerankerError: the reranker's factors are not there.
            EmbeddingModelError: the embedder's are not there, or they do not fit, or the package of the weights is
                missing or its file corrupt.
            FolderNotWritableError: the data folder cannot be written.
        """
        stamp = {"identity": self.identity(), "license": "MIT"}
        return made_folder(models_dir() / self.name, stamp, self._needed, self._write)

    def identity(self) -> str:
        """Return what its folder is made of.

        Raises:
            KnowledgeBaseError: the factors are not there.
        """
        if not self.has_factors():
            msg = f"The weights kb/adapters/{self.factors} are not here: install elysia-chat again, or {self.otherwise}"
            raise self._error(msg)
        return f"{MODEL_IDENTITY} {hashlib.sha256(self._file().read_bytes()).hexdigest()}"

    def has_factors(self) -> bool:
        """Tell whether the factors are part of this installation."""
        return self._file().is_file()

    def _file(self) -> Traversable:
        return files(__package__) / "adapters" / self.factors

    def _write(self, folder: Path) -> None:
        encoder, tokenizer = plain_encoder(checked_weights())
        with as_file(self._file()) as factors, without_progress_bars():
            self._make(encoder, tokenizer, factors, folder)


def _make_embedder(encoder: Any, tokenizer: Any, factors: Path, folder: Path) -> None:
    _change(encoder, factors)
    save_embedder(encoder, tokenizer, folder)


def _make_reranker(encoder: Any, tokenizer: Any, factors: Path, folder: Path) -> None:
    from transformers import BertForSequenceClassification

    encoder.config.num_labels = 1
    model = BertForSequenceClassification(encoder.config)
    model.bert = encoder
    _change(model, factors)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _change(model: Any, factors: Path) -> None:
    state = dict(model.state_dict())
    add_factors(state, factors)
    model.load_state_dict(state)


EMBEDDER = EmbeddedModel(
    "elysia-embedder", "embedder.safetensors", "name another model: --set embeddings.name=…", E5_FILES, _make_embedder,
    EmbeddingModelError,
)  # fmt: skip
RERANKER = EmbeddedModel(
    "elysia-reranker", "reranker.safetensors", "do without them: --set retrieval.reranker=none", _RERANKER_FILES,
    _make_reranker, RerankerError,
)  # fmt: skip
