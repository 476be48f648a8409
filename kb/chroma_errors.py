"""Chroma's exceptions turned into this folder's."""

import sqlite3
from types import TracebackType

from elysia_chat.kb.errors import IndexDamagedError, StoreServerError
from elysia_chat.kb.index_names import damaged_message


class ChromaErrors:
    """Turn what Chroma raises into this folder's errors, as a context manager.

    Chroma's Rust core can panic on a store that it cannot read. The panic's class derives from `BaseException` and
    cannot be imported, so it is recognised by its name; every other `BaseException` passes. The client of a server
    raises `ValueError` for whatever it did not expect of the answer.

    Args:
        persona: whose index it is.
        server: address of the server; None for a folder of this machine.
    """

    def __init__(self, persona: str, server: str | None = None) -> None:
        self._persona = persona
        self._server = server

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or not (_is_panic(error) or isinstance(error, self._expected())):
            return
        if self._server is not None:
            msg = (
                f"The Chroma server at {self._server} cannot be used ({_first_line(error)}). "
                "Start it with 'chroma run', or set store.kind=chroma."
            )
            raise StoreServerError(msg) from error
        raise IndexDamagedError(damaged_message(self._persona, _first_line(error))) from error

    def _expected(self) -> tuple[type[Exception], ...]:
        import chromadb.errors
        import httpx

        if self._server is not None:
            return (chromadb.errors.ChromaError, httpx.HTTPError, ValueError)
        return (chromadb.errors.ChromaError, sqlite3.DatabaseError)


def _is_panic(error: BaseException) -> bool:
    return (type(error).__module__, type(error).__name__) == ("pyo3_runtime", "PanicException")


def _first_line(error: BaseException) -> str:
    line = (str(error).splitlines() or [""])[0].strip().rstrip(".?")
    return line[:200] or type(error).__name__
