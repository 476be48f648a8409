"""The lexical index: BM25 over words in SQLite's FTS5, and the passages themselves in reading order.

It is kept up to date as chunks come and go. Readers never wait for the writer (WAL); a connection is used by one
thread at a time. Everything in it can be made again from the vector store, so a broken file is simply replaced.
"""

import logging
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path

from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.sqlite_pool import ConnectionPool
from elysia_chat.kb.words import terms

MAX_QUERY_CHARS = 2000
MAX_QUERY_TERMS = 400
_SCHEMA_VERSION = 2
_SCHEMA = """
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, text TEXT NOT NULL, document TEXT NOT NULL,
    title TEXT NOT NULL, heading TEXT NOT NULL, position INTEGER NOT NULL, start INTEGER NOT NULL,
    language TEXT NOT NULL
);
CREATE INDEX by_position ON chunks (document, position);
CREATE VIRTUAL TABLE words USING fts5(body, tokenize = 'porter unicode61 remove_diacritics 2');
"""
_FIELDS = "chunks.id, chunks.text, document, title, heading, position, start, language"
_BATCH = 500
_log = logging.getLogger(__name__)


class LexicalIndex:
    """Passages by their words.

    Args:
        path: the SQLite file, made where it is missing and replaced where it is broken; None keeps all in memory.
    """

    def __init__(self, path: Path | None) -> None:
        self._pool = ConnectionPool(path)
        try:
            self._prepare()
        except sqlite3.DatabaseError as error:
            if path is None or isinstance(error, sqlite3.OperationalError):
                raise
            _log.warning("Making the word index %s again, which cannot be read: %s", path, error)
            self._pool.close()
            for suffix in ("", "-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._prepare()

    def upsert(self, chunks: Sequence[Chunk]) -> None:
        """Add chunks, or replace those of the same id, in one transaction."""
        prepared = [(chunk, " ".join(terms(chunk.indexed_text))) for chunk in chunks]
        with self._pool.transaction() as connection:
            self._delete(connection, [chunk.id for chunk in chunks])
            for chunk, body in prepared:
                row = (chunk.id, chunk.text, chunk.document, chunk.title, chunk.heading)
                cursor = connection.execute(
                    "INSERT INTO chunks (id, text, document, title, heading, position, start, language)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (*row, chunk.position, chunk.start, chunk.language),
                )
                connection.execute("INSERT INTO words (rowid, body) VALUES (?, ?)", (cursor.lastrowid, body))

    def delete(self, ids: Iterable[str]) -> None:
        """Delete chunks by id; unknown ids are ignored."""
        with self._pool.transaction() as connection:
            self._delete(connection, list(ids))

    def clear(self) -> None:
        """Delete everything."""
        with self._pool.transaction() as connection:
            connection.execute("DELETE FROM chunks")
            connection.execute("DELETE FROM words")

    def search(self, query: str, k: int) -> list[tuple[Chunk, float]]:
        """Return the k best chunks that share a word with the query, with their BM25 scores (positive, best first).

        The query is plain text: no character has a meaning. Only its first 2,000 characters are used.
        """
        wanted = list(dict.fromkeys(terms(query[:MAX_QUERY_CHARS])))[:MAX_QUERY_TERMS]
        if not wanted or k < 1:
            return []
        quoted = ('"' + term.replace('"', '""') + '"' for term in wanted)
        sql = (
            f"SELECT {_FIELDS}, bm25(words) AS cost FROM words JOIN chunks ON chunks.number = words.rowid"
            " WHERE words MATCH ? ORDER BY cost, chunks.number LIMIT ?"
        )
        with self._pool.lend() as connection:
            rows = connection.execute(sql, (" OR ".join(quoted), k)).fetchall()
        return [(Chunk(*row[:-1]), -row[-1]) for row in rows]

    def get(self, ids: Iterable[str]) -> dict[str, Chunk]:
        """Return the stored chunks among the ids."""
        wanted = list(ids)
        found: dict[str, Chunk] = {}
        with self._pool.lend() as connection:
            for batch in (wanted[i : i + _BATCH] for i in range(0, len(wanted), _BATCH)):
                marks = ",".join("?" * len(batch))
                rows = connection.execute(f"SELECT {_FIELDS} FROM chunks WHERE id IN ({marks})", batch)
                found.update({row[0]: Chunk(*row) for row in rows})
        return found

    def at(self, document: str, positions: Sequence[int]) -> list[Chunk]:
        """Return the chunks of a document at the given positions, in reading order."""
        marks = ",".join("?" * len(positions))
        sql = f"SELECT {_FIELDS} FROM chunks WHERE document = ? AND position IN ({marks}) ORDER BY position"
        with self._pool.lend() as connection:
            return [Chunk(*row) for row in connection.execute(sql, (document, *positions))]

    def ids(self) -> set[str]:
        """Return the ids of all chunks."""
        with self._pool.lend() as connection:
            return {row[0] for row in connection.execute("SELECT id FROM chunks")}

    def count(self) -> int:
        """Return how many chunks there are."""
        with self._pool.lend() as connection:
            return int(connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def close(self) -> None:
        """Close the connections."""
        self._pool.close()

    def _prepare(self) -> None:
        with self._pool.lend() as connection:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version == _SCHEMA_VERSION:
                connection.execute("SELECT count(*) FROM chunks").fetchone()
                return
            for table in ("chunks", "words"):
                connection.execute(f"DROP TABLE IF EXISTS {table}")
            connection.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")

    @staticmethod
    def _delete(connection: sqlite3.Connection, ids: list[str]) -> None:
        for batch in (ids[i : i + _BATCH] for i in range(0, len(ids), _BATCH)):
            marks = ",".join("?" * len(batch))
            connection.execute(
                f"DELETE FROM words WHERE rowid IN (SELECT number FROM chunks WHERE id IN ({marks}))", batch
            )
            connection.execute(f"DELETE FROM chunks WHERE id IN ({marks})", batch)
