"""Chroma as the vector store: in a folder of this machine, or behind a server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_chroma import Chroma
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from elysia_chat.kb.chroma_errors import ChromaErrors
from elysia_chat.kb.chroma_folder import acquire, chroma_settings, release
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexDamagedError
from elysia_chat.kb.index_names import collection_name, collection_prefix, damaged_message

if TYPE_CHECKING:
    import httpx
    from chromadb.api import ClientAPI

CONNECT_S = 5.0
ANSWER_S = 60.0
_BATCH = 500
_PAGE = 5000
_HNSW = {"hnsw": {"space": "cosine", "ef_construction": 200, "ef_search": 250}}


class ChromaVectors(Chroma):
    """A Chroma collection of one persona under one embedding model, compared by cosine.

    Args:
        client: Chroma's client.
        persona: name of the persona.
        embeddings: turns texts into vectors, for LangChain's own methods.
        fingerprint: identity of the embedding model.
        server: address of the server, for errors; None for a folder.
        on_close: called once when this store is closed.
    """

    def __init__(
        self,
        client: "ClientAPI",
        persona: str,
        embeddings: Embeddings,
        fingerprint: str,
        server: str | None = None,
        on_close: Callable[[], None] | None = None,
    ) -> None:
        self._persona = persona
        self._server = server
        self._on_close = on_close
        with self._errors():
            super().__init__(
                collection_name=collection_name(persona, fingerprint),
                embedding_function=embeddings,
                client=client,
                collection_configuration=_HNSW,
            )

    def put(self, chunks: Sequence[Chunk], vectors: Sequence[Sequence[float]]) -> None:
        """Add chunks with their vectors, or replace those of the same id."""
        for start in range(0, len(chunks), _BATCH):
            batch = chunks[start : start + _BATCH]
            with self._errors():
                self._collection.upsert(
                    ids=[chunk.id for chunk in batch],
                    embeddings=[list(vector) for vector in vectors[start : start + _BATCH]],
                    documents=[chunk.text for chunk in batch],
                    metadatas=[dict(chunk.metadata) for chunk in batch],
                )

    def update_metadata(self, chunks: Sequence[Chunk]) -> None:
        """Write the metadata of chunks that are stored already; their texts and vectors stay."""
        for start in range(0, len(chunks), _BATCH):
            batch = chunks[start : start + _BATCH]
            with self._errors():
                self._collection.update(
                    ids=[chunk.id for chunk in batch], metadatas=[dict(chunk.metadata) for chunk in batch]
                )

    def nearest(self, vector: Sequence[float], k: int) -> list[tuple[Document, float]]:
        """Return the k nearest passages with their cosine similarity (-1..1), best first."""
        with self._errors():
            found = self.similarity_search_by_vector_with_relevance_scores(list(vector), k=k)
        return [(document, 1.0 - distance) for document, distance in found]

    def vectors_of(self, ids: Sequence[str]) -> dict[str, list[float]]:
        """Return the vectors of the stored ids among those given."""
        if not ids:
            return {}
        with self._errors():
            got = self._collection.get(ids=list(ids), include=["embeddings"])
        return {
            identifier: list(map(float, vector))
            for identifier, vector in zip(got["ids"], got["embeddings"], strict=True)
        }

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Return the stored passages among the ids, in any order."""
        if not ids:
            return []
        with self._errors():
            return super().get_by_ids(ids)

    def delete(self, ids: list[str] | None = None, **kwargs: Any) -> None:
        """Delete by id; unknown ids are ignored."""
        for start in range(0, len(ids or []), _BATCH):
            with self._errors():
                super().delete((ids or [])[start : start + _BATCH], **kwargs)

    def ids(self) -> set[str]:
        """Return all ids."""
        found: set[str] = set()
        with self._errors():
            while page := self._collection.get(include=[], limit=_PAGE, offset=len(found))["ids"]:
                found.update(page)
        return found

    def count(self) -> int:
        """Return how many passages there are."""
        with self._errors():
            return int(self._collection.count())

    def clear(self) -> None:
        """Delete everything."""
        self.delete(sorted(self.ids()))

    def other_embedders(self) -> list[str]:
        """Return the fingerprints of other embedding models that have passages of this persona here."""
        prefix = collection_prefix(self._persona)
        with self._errors():
            others = [c for c in self._client.list_collections() if c.name.startswith(prefix)]
            return [c.name.removeprefix(prefix) for c in others if c.name != self._collection_name and c.count() > 0]

    def check(self) -> None:
        """Search once for a passage that is stored.

        Chroma opens a store whose vectors are lost without a word, and then finds nothing.

        Raises:
            IndexDamagedError: it cannot be searched.
        """
        with self._errors():
            first = self._collection.get(limit=1, include=["embeddings"])
            if first["ids"] and not (len(first["embeddings"]) and self.nearest(first["embeddings"][0], 1)):
                raise IndexDamagedError(damaged_message(self._persona, "its vectors are lost"))

    def close(self) -> None:
        """Give the client back; calling it again does nothing."""
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()

    def _errors(self) -> ChromaErrors:
        return ChromaErrors(self._persona, self._server)


def open_folder(folder: Path, persona: str, embeddings: Embeddings, fingerprint: str) -> ChromaVectors:
    """Open a persona's collection in an index folder of this machine.

    Raises:
        IndexInUseError: another process has it open.
        IndexDamagedError: Chroma cannot read it.
    """
    client = acquire(folder, persona)
    try:
        vectors = ChromaVectors(client, persona, embeddings, fingerprint, on_close=lambda: release(folder))
        vectors.check()
        return vectors
    except BaseException:
        release(folder)
        raise


def open_server(
    host: str, port: int, ssl: bool, persona: str, embeddings: Embeddings, fingerprint: str
) -> ChromaVectors:
    """Open a persona's collection on a Chroma server.

    Raises:
        StoreServerError: it does not answer.
    """
    import chromadb
    import httpx

    server = f"{host}:{port}"
    with ChromaErrors(persona, server):
        _greet(f"http{'s' if ssl else ''}://{server}/api/v2/heartbeat")
        client = chromadb.HttpClient(host=host, port=port, ssl=ssl, settings=chroma_settings())
    sessions = _sessions(client)
    for session in sessions:
        session.timeout = httpx.Timeout(ANSWER_S)

    def close() -> None:
        client.close()
        for session in sessions:
            session.close()

    return ChromaVectors(client, persona, embeddings, fingerprint, server, on_close=close)


def _sessions(client: "ClientAPI") -> list["httpx.Client"]:
    """Return the HTTP sessions of a client and of the one inside it; Chroma neither limits nor closes them."""
    import httpx

    owners = (client, getattr(client, "_admin_client", None))
    sessions = (getattr(getattr(owner, "_server", None), "_session", None) for owner in owners)
    return [session for session in sessions if isinstance(session, httpx.Client)]


def _greet(url: str) -> None:
    """Ask a server whether it is Chroma, since Chroma's own client would wait for an answer for ever.

    Raises:
        httpx.HTTPError: it does not answer in time, or refuses.
        ValueError: it is another kind of server.
    """
    import httpx

    answer = httpx.get(url, timeout=CONNECT_S).raise_for_status()
    if "heartbeat" not in answer.text:
        msg = "it is another kind of server"
        raise ValueError(msg)
