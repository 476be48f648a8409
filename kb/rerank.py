"""Rerankers: a second, slower look at the passages that the search found."""

import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from elysia_chat.kb.errors import RerankerError
from elysia_chat.kb.precision import fast_precision, hold_fast

if TYPE_CHECKING:
    from elysia_chat.configs.settings import EmbeddingSettings

EMBEDDED = "embedded"
# A batch is filled up to so many characters with its padding: on a CPU more at once is no faster.
_BATCH_CHARACTERS = {"cpu": 2000}
_BATCH_CHARACTERS_ELSEWHERE = 64_000


class Reranker(Protocol):
    """Scores passages for a question."""

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Return the relevance of each passage, 0..1; a passage comes with its title and headings before it."""


class CrossEncoderReranker:
    """A sentence-transformers cross-encoder, which reads question and passage together. Threads may share it.

    They take turns, batch by batch, because a tokenizer cannot be used by two threads at once.

    Args:
        name: hub name or folder.
        device: a torch device, or "auto".

    Raises:
        RerankerError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto") -> None:
        import torch
        from sentence_transformers import CrossEncoder

        from elysia_chat.kb.embeddings import without_progress_bars

        options: dict[str, Any] = {} if device == "auto" else {"device": device}
        try:
            with without_progress_bars():
                self._model = CrossEncoder(name, trust_remote_code=False, activation_fn=torch.nn.Sigmoid(), **options)
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
            msg = f"Cannot load the reranker '{name}': {first_line}"
            raise RerankerError(msg) from error
        if self._model.num_labels != 1:
            msg = f"'{name}' tells {self._model.num_labels} labels apart; a reranker gives one score."
            raise RerankerError(msg)
        hold_fast(self._model, self._model.device.type)
        self._turn = threading.Lock()

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Return the relevance of each passage, 0..1; passages of like length share a batch, so little is padding."""
        made = [0.0] * len(passages)
        device = self._model.device.type
        for batch in _batches([len(query) + len(passage) for passage in passages], device):
            with self._turn, fast_precision(device):
                found = self._model.predict(
                    [(query, passages[index]) for index in batch], batch_size=len(batch), show_progress_bar=False
                )
            for index, score in zip(batch, found, strict=True):
                made[index] = float(score)
        return made


def build_reranker(name: str | None, settings: "EmbeddingSettings") -> Reranker | None:
    """Load the reranker that the settings name, None for none.

    Args:
        name: "embedded", a hub name or folder, or None.
        settings: of the embeddings, whose device and threads it shares.

    Raises:
        RerankerError: it cannot be loaded.
        EmbeddingModelError: the embedded weights, which it is made of, are missing or corrupt.
    """
    if name is None:
        return None
    if name == EMBEDDED:
        from elysia_chat.kb.embedded_search import RERANKER

        name = str(RERANKER.folder())
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    return CrossEncoderReranker(name, settings.device)


def _batches(lengths: Sequence[int], device: str) -> Iterator[list[int]]:
    """Yield the indices of texts in batches, longest first."""
    room = _BATCH_CHARACTERS.get(device, _BATCH_CHARACTERS_ELSEWHERE)
    by_length = sorted(range(len(lengths)), key=lambda index: -lengths[index])
    while by_length:
        count = max(1, room // max(1, lengths[by_length[0]]))
        batch, by_length = by_length[:count], by_length[count:]
        yield batch
