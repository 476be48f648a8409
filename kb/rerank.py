"""Rerankers: a second, slower look at the passages that the search found."""

from collections.abc import Sequence
from typing import Any, Protocol

from elysia_chat.kb.errors import RerankerError


class Reranker(Protocol):
    """Scores passages for a question."""

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Return the relevance of each passage, 0..1; a passage comes with its title and headings before it."""


class CrossEncoderReranker:
    """A sentence-transformers cross-encoder, which reads question and passage together.

    Args:
        name: hub name or folder.
        device: a torch device, or "auto".

    Raises:
        RerankerError: it cannot be loaded.
    """

    def __init__(self, name: str, device: str = "auto") -> None:
        import torch
        from sentence_transformers import CrossEncoder

        options: dict[str, Any] = {} if device == "auto" else {"device": device}
        try:
            self._model = CrossEncoder(name, trust_remote_code=False, activation_fn=torch.nn.Sigmoid(), **options)
        except (OSError, ValueError, RuntimeError, ImportError, KeyError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0][:200]
            msg = f"Cannot load the reranker '{name}': {first_line}"
            raise RerankerError(msg) from error
        if self._model.num_labels != 1:
            msg = f"'{name}' tells {self._model.num_labels} labels apart; a reranker gives one score."
            raise RerankerError(msg)

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        """Return the relevance of each passage, 0..1."""
        made = self._model.predict([(query, passage) for passage in passages], show_progress_bar=False)
        return [float(score) for score in made]
