"""One persona's knowledge base: its passages as vectors and as words, kept in step.

Writing goes to the vector store first and to the lexical index second; deleting likewise. The lexical index can be
made again from the vector store, and is brought back into step whenever the knowledge base is opened.
"""

import hashlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.configs.paths import ensure_dir, index_dir
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexDamagedError, IndexMismatchError
from elysia_chat.kb.index_names import damaged_message
from elysia_chat.kb.lexical import LexicalIndex

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings

    from elysia_chat.configs.settings import StoreSettings
    from elysia_chat.kb.vectors import VectorIndex

_BATCH = 256


class KnowledgeBase:
    """The passages of one persona under one embedding model. Threads may share it.

    Args:
        persona: name of the persona.
        embeddings: turns texts into vectors.
        fingerprint: identity of the embedding model, from `embedding_fingerprint`.
        vectors: the vector store.
        lexical: the word index.
        shared: whether other machines write to the vector store too, so that the word index may be behind it.
    """

    def __init__(
        self,
        persona: str,
        embeddings: "Embeddings",
        fingerprint: str,
        vectors: "VectorIndex",
        lexical: LexicalIndex,
        *,
        shared: bool = False,
    ) -> None:
        self.persona = persona
        self.embeddings = embeddings
        self.fingerprint = fingerprint
        self.vectors = vectors
        self.lexical = lexical
        self.shared = shared

    def write(self, chunks: Sequence[Chunk]) -> None:
        """Embed chunks and add them, or replace those of the same id.

        A stored chunk whose indexed text is the same keeps its vector and gets the new metadata.
        """
        latest = list({chunk.id: chunk for chunk in chunks}.values())
        for batch in (latest[i : i + _BATCH] for i in range(0, len(latest), _BATCH)):
            self._write_batch(batch)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete chunks by id; unknown ids are ignored."""
        listed = list(ids)
        if listed:
            with self._readable():
                self.vectors.delete(listed)
                self.lexical.delete(listed)

    def clear(self) -> None:
        """Delete every chunk."""
        with self._readable():
            self.vectors.clear()
            self.lexical.clear()

    def ids(self) -> set[str]:
        """Return the ids of all chunks."""
        with self._readable():
            return self.vectors.ids()

    def count(self) -> int:
        """Return how many chunks there are."""
        with self._readable():
            return self.vectors.count()

    def get(self, ids: Sequence[str]) -> list["Document"]:
        """Return the stored passages among the ids, in the order of the ids."""
        from elysia_chat.kb.vectors import in_order

        with self._readable():
            return in_order(self.vectors.get_by_ids(ids), ids)

    def neighbours(self, document: str, position: int) -> list["Document"]:
        """Return the passages just before and just after one, in reading order."""
        return self.passages_at(document, (position - 1, position + 1))

    def passages_at(self, document: str, positions: Sequence[int]) -> list["Document"]:
        """Return the passages of a document at the given positions, in reading order."""
        with self._readable():
            return [chunk.to_document() for chunk in self.lexical.at(document, positions)]

    def nearest(self, query: str, k: int) -> list[tuple["Document", float]]:
        """Return the k passages nearest in meaning, with their cosine similarity (-1..1), best first."""
        vector = self.embeddings.embed_query(query)
        with self._readable():
            return self.vectors.nearest(vector, k)

    def vectors_of(self, ids: Sequence[str]) -> dict[str, list[float]]:
        """Return the vectors of the stored passages among the ids."""
        with self._readable():
            return self.vectors.vectors_of(ids)

    def matching(self, query: str, k: int) -> list[tuple["Document", float]]:
        """Return the k passages that share the query's rarest words, with their BM25 scores (> 0), best first."""
        with self._readable():
            found = self.lexical.search(query, k)
            if self.shared and found:
                stored = {document.id for document in self.vectors.get_by_ids([chunk.id for chunk, _ in found])}
                found = [(chunk, score) for chunk, score in found if chunk.id in stored]
            return [(chunk.to_document(), score) for chunk, score in found]

    def check_embedder(self) -> None:
        """Check that an index which is not there under this embedding model is not there under another.

        Raises:
            IndexMismatchError: the persona's passages were embedded with another model.
        """
        with self._readable():
            if self.vectors.count() == 0 and self.vectors.other_embedders():
                msg = (
                    f"The index of '{self.persona}' was made with another embedding model. "
                    f"Build it for this one: elysia-chat ingest --persona {self.persona}"
                )
                raise IndexMismatchError(msg)

    def synchronise(self) -> int:
        """Bring the lexical index into step with the vector store and return how many chunks that took."""
        with self._readable():
            stored, indexed = self.vectors.ids(), self.lexical.ids()
            missing, extra = sorted(stored - indexed), indexed - stored
            if extra:
                self.lexical.delete(extra)
            for batch in (missing[i : i + _BATCH] for i in range(0, len(missing), _BATCH)):
                found = self.vectors.get_by_ids(batch)
                self.lexical.upsert([Chunk.from_stored(str(d.id), d.page_content, d.metadata) for d in found])
            return len(missing) + len(extra)

    def close(self) -> None:
        """Give back files and connections."""
        self.lexical.close()
        self.vectors.close()

    def _write_batch(self, batch: Sequence[Chunk]) -> None:
        with self._readable():
            stored = self.lexical.get([chunk.id for chunk in batch])
            have_vectors = self.vectors.vectors_of(list(stored))
            same = {
                chunk.id
                for chunk in batch
                if chunk.id in have_vectors and stored[chunk.id].indexed_text == chunk.indexed_text
            }
        new = [chunk for chunk in batch if chunk.id not in same]
        vectors = self.embeddings.embed_documents([chunk.indexed_text for chunk in new]) if new else []
        with self._readable():
            if new:
                self.vectors.put(new, vectors)
            moved = [chunk for chunk in batch if chunk.id in same and stored[chunk.id] != chunk]
            if moved:
                self.vectors.update_metadata(moved)
            if new or moved:
                self.lexical.upsert([*new, *moved])

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise IndexDamagedError(damaged_message(self.persona, str(error))) from error


def open_knowledge_base(
    persona_name: str,
    embeddings: "Embeddings",
    fingerprint: str,
    store_settings: "StoreSettings",
    *,
    repair: bool = False,
) -> KnowledgeBase:
    """Open a persona's knowledge base, empty where there is none yet.

    Args:
        persona_name: slug of the persona.
        embeddings: turns texts into vectors.
        fingerprint: from `embedding_fingerprint`; another one opens another collection.
        store_settings: which vector store, and where.
        repair: where the index on this machine is damaged, discard it and open an empty one.

    Raises:
        IndexInUseError: another process has the index open.
        IndexDamagedError: the index cannot be read, and `repair` is off.
        StoreServerError: the Chroma server does not answer.
        FolderNotWritableError: the data folder cannot be written.
    """
    try:
        return _open(persona_name, embeddings, fingerprint, store_settings)
    except IndexDamagedError:
        if not repair or store_settings.kind != "chroma":
            raise
        discard_index(persona_name)
        return _open(persona_name, embeddings, fingerprint, store_settings)


def discard_index(persona_name: str) -> None:
    """Delete a persona's index on this machine, manifest included; the next ingest builds it anew.

    Raises:
        IndexInUseError: it is open, here or in another process.
    """
    from elysia_chat.kb.chroma_folder import LOCK_NAME, exclusive

    folder = index_dir(persona_name)
    if not folder.is_dir():
        return
    with exclusive(folder, persona_name):
        for entry in folder.iterdir():
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            elif entry.name != LOCK_NAME:
                entry.unlink()


def _open(
    persona_name: str, embeddings: "Embeddings", fingerprint: str, store_settings: "StoreSettings"
) -> KnowledgeBase:
    if store_settings.kind == "memory":
        from elysia_chat.kb.vectors import MemoryVectors

        return KnowledgeBase(persona_name, embeddings, fingerprint, MemoryVectors(embeddings), LexicalIndex(None))
    from elysia_chat.kb.chroma import open_folder, open_server

    folder = ensure_dir(index_dir(persona_name))
    if store_settings.kind == "chroma":
        vectors = open_folder(folder, persona_name, embeddings, fingerprint)
    else:
        vectors = open_server(
            store_settings.host, store_settings.port, store_settings.ssl, persona_name, embeddings, fingerprint
        )
    try:
        lexical = LexicalIndex(_lexical_path(folder, fingerprint, store_settings))
        shared = store_settings.kind == "chroma-server"
        knowledge_base = KnowledgeBase(persona_name, embeddings, fingerprint, vectors, lexical, shared=shared)
        knowledge_base.synchronise()
    except BaseException:
        vectors.close()
        raise
    return knowledge_base


def _lexical_path(folder: Path, fingerprint: str, store_settings: "StoreSettings") -> Path:
    if store_settings.kind == "chroma":
        return folder / f"words-{fingerprint}.sqlite3"
    server = f"{store_settings.host}:{store_settings.port}"
    return folder / f"words-{fingerprint}-{hashlib.sha256(server.encode()).hexdigest()[:8]}.sqlite3"
