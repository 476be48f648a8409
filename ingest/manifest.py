"""The record of what is indexed: SQLite, one row for each document and each chunk.

A document's rows change in one transaction, after its chunks are written. Before a chunk is written or deleted its id
goes into `touched`, and leaves it with that transaction: whatever a killed run left half done is in that list.
"""

import hashlib
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from elysia_chat.ingest.errors import ManifestError
from elysia_chat.ingest.report import DocumentState
from elysia_chat.kb.chunk import Chunk

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE documents (
    path TEXT PRIMARY KEY,
    title TEXT NOT NULL,
    digest TEXT NOT NULL,
    stat TEXT NOT NULL,
    bytes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    checked_at REAL NOT NULL,
    updated_at REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE chunks (id TEXT PRIMARY KEY, path TEXT NOT NULL, state TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX chunks_of_document ON chunks (path);
CREATE TABLE touched (id TEXT PRIMARY KEY, path TEXT NOT NULL) WITHOUT ROWID;
PRAGMA user_version = {_VERSION};
"""
_BUSY_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Record:
    """What is known of a document.

    Attributes:
        digest: SHA-256 of the content that its chunks were made from; "" where it could never be read.
        stat: the file's size, times and inode at that moment.
        reason: why the last run could not read it; "" otherwise.
        checked_at: when the content was read, in seconds since the epoch.
    """

    path: str
    title: str
    digest: str
    stat: str
    bytes: int
    reason: str
    checked_at: float


def chunk_state(chunk: Chunk) -> str:
    """Return a digest of everything that is stored with a chunk beside its id: its title and place may change."""
    parts = (chunk.title, str(chunk.position), str(chunk.start), chunk.language)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


class Manifest:
    """The open record of one index."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    def open(cls, path: Path) -> "Manifest":
        """Open a record to write in it, made where it is not there.

        A file that is no manifest of this version is put aside: the next run then writes everything again, which is
        safe, since ids come from the content.

        Raises:
            ManifestError: it cannot be opened.
        """
        return cls(_connect_or_replace(path))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def setting(self, name: str) -> str | None:
        """Return what the index was made with, or None."""
        row = self._connection.execute("SELECT value FROM settings WHERE name = ?", (name,)).fetchone()
        return None if row is None else str(row[0])

    def set_setting(self, name: str, value: str) -> None:
        """Remember what the index is made with."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", (name, value))

    def records(self) -> dict[str, Record]:
        """Return all documents by path."""
        rows = self._connection.execute("SELECT path, title, digest, stat, bytes, reason, checked_at FROM documents")
        return {row[0]: Record(*row) for row in rows}

    def chunks(self) -> dict[str, dict[str, str]]:
        """Return for each document the states of its chunks by id."""
        found: dict[str, dict[str, str]] = {}
        for identifier, path, state in self._connection.execute("SELECT id, path, state FROM chunks"):
            found.setdefault(path, {})[identifier] = state
        return found

    def chunk_count(self) -> int:
        """Return how many chunks there are."""
        return int(self._connection.execute("SELECT count(*) FROM chunks").fetchone()[0])

    def touched(self) -> set[str]:
        """Return the ids that a run which did not finish may have written or deleted."""
        return {row[0] for row in self._connection.execute("SELECT id FROM touched")}

    def touch(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Note (id, document path) of chunks that are about to be written, (id, "") of those to be deleted."""
        with self._transaction():
            self._connection.executemany("INSERT OR REPLACE INTO touched VALUES (?, ?)", pairs)

    def settle(self, unsettled: Iterable[str]) -> None:
        """Forget the list, but for documents that could not be brought into order."""
        with self._transaction():
            kept = set(unsettled)
            paths = {row[0] for row in self._connection.execute("SELECT DISTINCT path FROM touched")}
            self._connection.executemany("DELETE FROM touched WHERE path = ?", [(path,) for path in paths - kept])

    def save(self, documents: Iterable[tuple[Record, Sequence[Chunk]]]) -> None:
        """Record documents with their chunks, which are in the index by now."""
        with self._transaction():
            for record, chunks in documents:
                self._put(record)
                self._connection.execute("DELETE FROM chunks WHERE path = ?", (record.path,))
                rows = ((chunk.id, record.path, chunk_state(chunk)) for chunk in chunks)
                self._connection.executemany("INSERT OR REPLACE INTO chunks VALUES (?, ?, ?)", rows)
                self._connection.execute("DELETE FROM touched WHERE path = ?", (record.path,))

    def save_records(self, records: Iterable[Record]) -> None:
        """Record documents whose chunks stay as they are."""
        with self._transaction():
            for record in records:
                self._put(record)

    def forget(self, paths: Iterable[str]) -> None:
        """Drop documents whose chunks are out of the index by now."""
        with self._transaction():
            for table in ("documents", "chunks", "touched"):
                self._connection.executemany(f"DELETE FROM {table} WHERE path = ?", [(path,) for path in paths])

    def states(self) -> list[DocumentState]:
        """Return all documents in the order of their paths."""
        rows = self._connection.execute(
            "SELECT path, title, (SELECT count(*) FROM chunks WHERE chunks.path = documents.path), "
            "reason, bytes, updated_at FROM documents ORDER BY path"
        )
        return [
            DocumentState(path, title, count, "failed" if reason else "indexed", reason, size, updated_at)
            for path, title, count, reason, size, updated_at in rows
        ]

    def _put(self, record: Record) -> None:
        self._connection.execute(
            "INSERT OR REPLACE INTO documents VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (record.path, record.title, record.digest, record.stat, record.bytes, record.reason, record.checked_at,
             time.time()),
        )  # fmt: skip

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._connection:
            self._connection.execute("BEGIN IMMEDIATE")
            yield


def document_states(manifest_path: Path) -> list[DocumentState]:
    """Return what is indexed; nothing where there is no manifest yet. A run may be going on meanwhile.

    Raises:
        ManifestError: the file is damaged or of another version.
    """
    if not manifest_path.is_file():
        return []
    try:
        with closing(_connect(manifest_path)) as connection:
            if _version(connection) == 0:
                return []
            return Manifest(connection).states()
    except sqlite3.DatabaseError as error:
        msg = f"The record of indexed documents cannot be read ({error}). Run the ingest again to make it anew."
        raise ManifestError(msg) from error


def _connect_or_replace(path: Path) -> sqlite3.Connection:
    try:
        return _prepared(_connect(path))
    except sqlite3.OperationalError as error:
        # A locked file or a full disk says nothing about the content: that stays.
        msg = f"The record of indexed documents cannot be opened ({error}): {path}"
        raise ManifestError(msg) from error
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):
            file = path.with_name(path.name + suffix)
            if file.exists():
                file.replace(path.with_name(f"{path.name}.damaged{suffix}"))
        return _prepared(_connect(path))


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA journal_mode = WAL")
    return connection


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return the connection with its tables made, or closed and an error where the file is of another making."""
    try:
        version = _version(connection)
        if version == 0:
            connection.executescript(f"BEGIN; {_SCHEMA} COMMIT;")
        elif version != _VERSION:
            msg = f"version {version}"
            raise sqlite3.DatabaseError(msg)
        elif connection.execute("PRAGMA quick_check").fetchone() != ("ok",):
            msg = "damaged"
            raise sqlite3.DatabaseError(msg)
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])
