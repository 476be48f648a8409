"""Where vectors lie: what the knowledge base asks of a LangChain vector store, and the store in memory."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore

from elysia_chat.kb.chunk import Chunk


class VectorIndex(Protocol):
    """A LangChain `VectorStore` that also takes vectors made elsewhere and tells what it holds."""

    def put(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Add chunks with their vectors, or replace those of the same id."""

    def update_metadata(self, chunks: Sequence[Chunk]) -> None:
        """Write the metadata of chunks that are stored already; their texts and vectors stay."""

    def nearest(self, vector: Sequence[float], k: int) -> list[tuple[Document, float]]:
        """Return the k nearest passages with their cosine similarity (-1..1), best first."""

    def vectors_of(self, ids: Sequence[str]) -> dict[str, list[float]]:
        """Return the vectors of the stored ids among those given."""

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the stored passages among the ids, in any order."""

    def delete(self, ids: list[str] | None = None) -> None:
        """Delete by id; unknown ids are ignored."""

    def ids(self) -> set[str]:
        """Return all ids."""

    def count(self) -> int:
        """Return how many passages there are."""

    def clear(self) -> None:
        """Delete everything."""

    def other_embedders(self) -> list[str]:
        """Return the fingerprints of other embedding models that have passages of this persona here."""

    def close(self) -> None:
        """Give back files and connections."""


class MemoryVectors(InMemoryVectorStore):
    """Vectors in this process's memory; gone with it."""

    def put(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Add chunks with their vectors, or replace those of the same id."""
        for chunk, vector in zip(chunks, vectors, strict=True):
            self.store[chunk.id] = {
                "id": chunk.id,
                "vector": list(vector),
                "text": chunk.text,
                "metadata": chunk.metadata,
            }

    def update_metadata(self, chunks: Sequence[Chunk]) -> None:
        """Write the metadata of chunks that are stored already; their texts and vectors stay."""
        for chunk in chunks:
            self.store[chunk.id] = {**self.store[chunk.id], "metadata": chunk.metadata}

    def nearest(self, vector: Sequence[float], k: int) -> list[tuple[Document, float]]:
        """Return the k nearest passages with their cosine similarity (-1..1), best first."""
        return self.similarity_search_with_score_by_vector(list(vector), k)

    def vectors_of(self, ids: Sequence[str]) -> dict[str, list[float]]:
        """Return the vectors of the stored ids among those given."""
        found = {identifier: self.store.get(identifier) for identifier in ids}
        return {identifier: entry["vector"] for identifier, entry in found.items() if entry}

    def ids(self) -> set[str]:
        """Return all ids."""
        return set(self.store)

    def count(self) -> int:
        """Return how many passages there are."""
        return len(self.store)

    def clear(self) -> None:
        """Delete everything."""
        self.store.clear()

    def other_embedders(self) -> list[str]:
        """Return nothing: a store in memory serves one embedding model."""
        return []

    def close(self) -> None:
        """Keep everything: there is nothing to give back."""


def in_order(documents: Iterable[Document], ids: Sequence[str]) -> list[Document]:
    """Return documents in the order of ids, leaving out those that are missing."""
    by_id = {document.id: document for document in documents}
    return [by_id[identifier] for identifier in ids if identifier in by_id]
