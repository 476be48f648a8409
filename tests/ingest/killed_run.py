"""An ingest that kills its own process at a given event, or runs to its end and prints how many events there were.

    python killed_run.py FOLDER MANIFEST EVENT

An event is the begin and the end of each step that changes the index or its record. EVENT 0 never comes.
"""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from elysia_chat.configs.settings import StoreSettings
from elysia_chat.ingest import pipeline
from elysia_chat.ingest.loaders import discover
from elysia_chat.ingest.manifest import Manifest
from elysia_chat.kb.chroma import ChromaVectors
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.lexical import LexicalIndex
from elysia_chat.kb.store import open_knowledge_base
from elysia_chat.kb.vectors import MemoryVectors

STEPS = (
    (Manifest, ("touch", "save", "save_records", "settle", "forget", "set_setting")),
    (ChromaVectors, ("put", "update_metadata", "delete")),
    (MemoryVectors, ("put", "update_metadata", "delete")),
    (LexicalIndex, ("upsert", "delete")),
)


class Events:
    """Counts the begins and ends of the steps and calls `stop` at one of them."""

    def __init__(self, at: int, stop: Callable[[], None]) -> None:
        self.count = 0
        self._at = at
        self._stop = stop

    def happen(self) -> None:
        self.count += 1
        if self.count == self._at:
            self._stop()

    def around(self, step: Callable[..., Any]) -> Callable[..., Any]:
        def observed(*args: Any, **kwargs: Any) -> Any:
            self.happen()
            result = step(*args, **kwargs)
            self.happen()
            return result

        return observed


def main() -> None:
    folder, manifest_path, at = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
    index = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings())
    events = Events(at, lambda: os.kill(os.getpid(), signal.SIGKILL))
    for owner, names in STEPS:
        for name in names:
            setattr(owner, name, events.around(getattr(owner, name)))
    pipeline._BATCH = 3
    pipeline.ingest(discover(folder), index, manifest_path, pipeline.IngestOptions(120, 0))
    index.close()
    sys.stdout.write(str(events.count))


if __name__ == "__main__":
    main()
