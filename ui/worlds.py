"""Worlds to ask questions about: a folder of documents with questions, searched as a persona's lore is."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.configs.settings import StoreSettings
from elysia_chat.ui.errors import MissingPathError

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from elysia_chat.ui.services import Services

QUESTIONS = "questions.json"
_FOLDERS = ("documents", "lore")


@contextmanager
def open_world(services: "Services", folder: Path) -> "Iterator[Callable[[str, int], Sequence[Document]]]":
    """Index the documents of a world in memory, and give the search over them.

    Args:
        services: whose settings, embeddings and retrieval are used.
        folder: with `questions.json` and `documents/` or `lore/`.

    Raises:
        MissingPathError: one of them is not there.
    """
    from elysia_chat.ingest.loaders import discover
    from elysia_chat.ingest.pipeline import build_options, ingest
    from elysia_chat.kb.embeddings import embedding_fingerprint
    from elysia_chat.kb.retriever import build_retriever
    from elysia_chat.kb.store import open_knowledge_base

    documents = next((folder / name for name in _FOLDERS if (folder / name).is_dir()), None)
    if documents is None or not (folder / QUESTIONS).is_file():
        msg = f"'{folder}' is no world: it needs {QUESTIONS} and a folder called {' or '.join(_FOLDERS)}."
        raise MissingPathError(msg)
    settings = services.settings
    knowledge_base = open_knowledge_base(
        f"world-{folder.resolve().name}",
        services.embeddings,
        embedding_fingerprint(settings.embeddings),
        StoreSettings(kind="memory"),
    )
    try:
        with tempfile.TemporaryDirectory(prefix="elysia-chat-world-") as temporary:
            manifest = Path(temporary) / "manifest.sqlite3"
            ingest(discover(documents), knowledge_base, manifest, build_options(settings.ingest))

        def search(question: str, k: int) -> "Sequence[Document]":
            values = {**settings.retrieval.model_dump(), "k": k, "candidates": max(k, settings.retrieval.candidates)}
            chosen = type(settings.retrieval)(**values)
            return build_retriever(chosen, knowledge_base, services.reranker(chosen)).invoke(question)

        yield search
    finally:
        knowledge_base.close()
