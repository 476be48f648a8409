"""SQLite connections that threads borrow, so that readers do not wait for the writer."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


class ConnectionPool:
    """Connections to one database; each is used by one thread at a time.

    Args:
        path: the file; None keeps the database in memory, where there is one connection and threads take turns.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._idle: list[sqlite3.Connection] = []
        self._memory = _connect(":memory:") if path is None else None
        self._turn = threading.RLock()

    @contextmanager
    def lend(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection in autocommit mode."""
        if self._memory is not None:
            with self._turn:
                yield self._memory
            return
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        connection = connection or self._open()
        try:
            yield connection
        finally:
            with self._lock:
                self._idle.append(connection)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Lend a connection inside a transaction: all of it is written, or on an exception nothing."""
        with self._turn, self.lend() as connection:
            connection.execute("BEGIN IMMEDIATE")
            with connection:
                yield connection

    def close(self) -> None:
        """Close the connections that are not lent; a database in memory is lost."""
        with self._lock:
            while self._idle:
                self._idle.pop().close()
        if self._memory is not None:
            self._memory.close()

    def _open(self) -> sqlite3.Connection:
        connection = _connect(str(self._path))
        try:
            with suppress(sqlite3.OperationalError):  # a file system without WAL keeps its own mode
                connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.DatabaseError:
            connection.close()
            raise
        return connection


def _connect(target: str) -> sqlite3.Connection:
    return sqlite3.connect(target, timeout=30, isolation_level=None, check_same_thread=False)
