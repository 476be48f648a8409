"""The incremental ingest: read what changed, write what is new, then delete what is gone.

The order is what keeps questions answered and a killed run harmless. New chunks are written, then the document's
record changes, then the chunks they replace are deleted. Ids come from the content, so doing a step twice does no harm,
and each run compares the ids in the index with those on record: what is missing is written, what is left over deleted.
"""

import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import DocumentError, IngestCancelledError
from elysia_chat.ingest.loaders import parse, read_file
from elysia_chat.ingest.lock import single_writer
from elysia_chat.ingest.manifest import Manifest, Record, chunk_state, document_states
from elysia_chat.ingest.report import DocumentState, IngestReport, Progress, ProgressCallback, Stage
from elysia_chat.ingest.splitter import split
from elysia_chat.kb.chunk import Chunk

if TYPE_CHECKING:
    from elysia_chat.configs.settings import IngestSettings
    from elysia_chat.kb.store import KnowledgeBase

__all__ = [
    "DocumentState", "IngestOptions", "IngestReport", "Progress", "build_options", "document_states", "ingest",
]  # fmt: skip

_METHOD = 1
"""Raise it when loaders or splitter change what they give: every index is then cut anew by its next run."""
_BATCH = 64
"""Chunks between two records: what a stop waits for, and a kill loses, at half a second each on a slow machine."""
_RACY_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How documents are read and cut.

    Attributes:
        chunk_size: most characters in a chunk.
        chunk_overlap: most characters that a chunk repeats of the one before.
        limits: what a file may cost.
    """

    chunk_size: int
    chunk_overlap: int
    limits: Limits = field(default_factory=Limits)

    @property
    def key(self) -> str:
        """What decides how a document is cut, to be compared with what the index was made with."""
        return json.dumps({"method": _METHOD, "chunk_size": self.chunk_size, "chunk_overlap": self.chunk_overlap})


def build_options(settings: "IngestSettings") -> IngestOptions:
    """Turn settings into options."""
    limits = Limits(int(settings.max_file_mb * 1e6), int(settings.max_unpacked_mb * 1e6))
    return IngestOptions(settings.chunk_size, settings.chunk_overlap, limits)


def ingest(
    documents: Mapping[str, Path],
    knowledge_base: "KnowledgeBase",
    manifest_path: Path,
    options: IngestOptions,
    progress: ProgressCallback | None = None,
    cancel: threading.Event | None = None,
) -> IngestReport:
    """Make an index hold exactly these documents.

    A document that cannot be read is reported with the reason and keeps its former chunks; one that is not in
    `documents`, or whose file has vanished, is deleted.

    Args:
        documents: every document of the index: files by their relative path with forward slashes.
        knowledge_base: the index.
        manifest_path: the index's record; made where it is not there.
        options: how documents are read and cut; others than last time cut every document anew.
        progress: called after each step; what it raises ends the run and reaches the caller.
        cancel: ends the run with `IngestCancelledError` soon after it is set.

    Raises:
        IngestBusyError: another run writes this index.
        IngestCancelledError: `cancel` was set. The index answers as before, and the next run goes on from here.
        ManifestError: the record cannot be opened.
        KnowledgeBaseError: the index cannot be written.
    """
    started = time.monotonic()
    with single_writer(manifest_path):
        manifest = Manifest.open(manifest_path)
        try:
            report = _Run(dict(sorted(documents.items())), knowledge_base, manifest, options, progress, cancel).go()
        finally:
            manifest.close()
    report.seconds = time.monotonic() - started
    return report


@dataclass(frozen=True, slots=True)
class _Change:
    """A document to be brought up to date.

    Attributes:
        record: what the manifest will say of it.
        chunks: all its chunks.
        new: those to be written.
        old: ids to be deleted.
    """

    record: Record
    chunks: list[Chunk]
    new: list[Chunk]
    old: frozenset[str]


class _Run:
    def __init__(
        self,
        documents: Mapping[str, Path],
        knowledge_base: "KnowledgeBase",
        manifest: Manifest,
        options: IngestOptions,
        progress: ProgressCallback | None,
        cancel: threading.Event | None,
    ) -> None:
        self._documents = documents
        self._index = knowledge_base
        self._manifest = manifest
        self._options = options
        self._progress = progress
        self._cancel = cancel
        self._report = IngestReport()
        self._vanished: set[str] = set()
        self._records = manifest.records()
        self._chunks = manifest.chunks()
        self._recut = manifest.setting("options") != options.key
        if manifest.setting("index") != knowledge_base.fingerprint:
            # The record tells of the index of another embedding model.
            manifest.touch((identifier, path) for path, ids in self._chunks.items() for identifier in ids)
            manifest.set_setting("index", knowledge_base.fingerprint)
        # What the index holds exactly as recorded: not what an unfinished run touched.
        self._touched = manifest.touched()
        self._sure = knowledge_base.ids() - self._touched

    def go(self) -> IngestReport:
        self._write(list(self._read()))
        self._delete()
        self._manifest.set_setting("options", self._options.key)
        self._manifest.settle(path for path, _ in self._report.failed)
        self._report.chunks = self._manifest.chunk_count()
        return self._report

    def _tell(self, stage: Stage, done: int, total: int, document: str = "") -> None:
        if self._cancel is not None and self._cancel.is_set():
            msg = "The ingest was stopped; the next one goes on from there."
            raise IngestCancelledError(msg)
        if self._progress is not None:
            self._progress(Progress(stage, done, total, document))

    def _read(self) -> Iterator[_Change]:
        """Yield what has to be done; documents that only need a new record get it at the end."""
        records: list[Record] = []
        for number, (path, file) in enumerate(self._documents.items(), start=1):
            try:
                found = self._read_one(path, file)
            except FileNotFoundError:
                self._vanished.add(path)  # after the folder was listed
            except DocumentError as error:
                self._report.failed.append((path, error.reason))
                known = self._records.get(path) or Record(path, "", "", "", _size(file), "", 0.0)
                records.append(replace(known, reason=error.reason))
            else:
                if isinstance(found, _Change):
                    yield found
                elif found is not None:
                    records.append(found)
            self._tell("read", number, len(self._documents), path)
        self._manifest.save_records(records)

    def _read_one(self, path: str, file: Path) -> _Change | Record | None:
        """Return what changes, or a record of the same content under a new stat, or None."""
        known = self._records.get(path)
        stored = self._chunks.get(path, {})
        complete = known is not None and not known.reason and not self._recut and stored.keys() <= self._sure
        stat = _stat_key(file)
        if known and complete and known.stat == stat and _is_settled(file, known.checked_at):
            self._report.unchanged.append(path)
            return None
        checked_at = time.time()
        data = read_file(file, self._options.limits, _root_of(path, file))
        digest = hashlib.sha256(data).hexdigest()
        if known and complete and known.digest == digest:
            self._report.unchanged.append(path)
            return replace(known, stat=stat, checked_at=checked_at)
        loaded = parse(file.name, data, self._options.limits)
        chunks = split(loaded, path, self._options.chunk_size, self._options.chunk_overlap)
        states = {chunk.id: chunk_state(chunk) for chunk in chunks}
        new = [chunk for chunk in chunks if chunk.id not in self._sure or stored.get(chunk.id) != states[chunk.id]]
        self._classify(path, known, digest, states, stored, bool(new))
        record = Record(path, loaded.title, digest, stat, len(data), "", checked_at)
        return _Change(record, chunks, new, frozenset(stored.keys() - states.keys()))

    def _classify(
        self, path: str, known: Record | None, digest: str, states: dict[str, str], stored: dict[str, str], writes: bool
    ) -> None:
        if known is None or not known.digest:
            self._report.added.append(path)
        elif digest != known.digest or states != stored:
            self._report.updated.append(path)
        elif writes:
            self._report.repaired.append(path)
        else:
            self._report.unchanged.append(path)

    def _write(self, changes: list[_Change]) -> None:
        """Write new chunks in batches across documents; a document is finished with the batch that completes it."""
        total = sum(len(change.new) for change in changes)
        batch: list[Chunk] = []
        finished: list[_Change] = []
        for change in changes:
            for chunk in change.new:
                batch.append(chunk)
                if len(batch) == _BATCH:
                    self._flush(batch, finished)
                    batch, finished = [], []
                    self._tell("write", self._report.written, total, change.record.path)
            finished.append(change)
        if finished:
            self._flush(batch, finished)
            self._tell("write", self._report.written, total)

    def _flush(self, batch: list[Chunk], finished: list[_Change]) -> None:
        old = [identifier for change in finished for identifier in change.old]
        self._manifest.touch([*((chunk.id, chunk.document) for chunk in batch), *((each, "") for each in old)])
        if batch:
            self._index.write(batch)
        self._manifest.save((change.record, change.chunks) for change in finished)
        if old:
            self._index.delete(old)
        self._report.written += len(batch)

    def _delete(self) -> None:
        """Delete whatever no document on record has, last of all."""
        gone = {path for path in self._records if path not in self._documents or path in self._vanished}
        self._report.deleted = sorted(gone)
        recorded = self._manifest.chunks().items()
        kept = {identifier for path, ids in recorded if path not in gone for identifier in ids}
        # What a killed run was deleting may be out of one half of the index and still in the other.
        strays = sorted((self._index.ids() | self._touched) - kept)
        for start in range(0, len(strays), _BATCH):
            batch = strays[start : start + _BATCH]
            self._manifest.touch((identifier, "") for identifier in batch)
            self._index.delete(batch)
            self._tell("delete", start + len(batch), len(strays))
        self._manifest.forget(gone)


def _root_of(path: str, file: Path) -> Path:
    """Return the folder that a document's relative path begins in, which no link may leave."""
    parts = path.split("/")
    if file.parts[-len(parts) :] == tuple(parts) and len(parts) <= len(file.parents):
        return file.parents[len(parts) - 1]
    return file.parent


def _stat_key(file: Path) -> str:
    """Return size, times and inode of a file; "" where they cannot be had."""
    try:
        stat = file.stat()
    except OSError:
        return ""
    return f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns} {stat.st_dev} {stat.st_ino}"


def _is_settled(file: Path, checked_at: float) -> bool:
    """Whether an equal stat proves equal content.

    The change time cannot be set back, as the modification time can. But it has the grain of the system's clock: a
    file written just before it was read may have been written again in the same tick. Windows keeps no change time.
    """
    if os.name != "posix":
        return False
    try:
        stat = file.stat()
    except OSError:
        return False
    return max(stat.st_mtime, stat.st_ctime) < checked_at - _RACY_SECONDS


def _size(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0
