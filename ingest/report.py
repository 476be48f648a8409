"""What the pipeline tells: how far it is, what it did, and what is indexed."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Stage = Literal["read", "write", "delete"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: "read" counts documents, "write" and "delete" count chunks.
        done: how many are done.
        total: how many there are in this stage.
        document: relative path of the one just done; "" where it is several.
    """

    stage: Stage
    done: int
    total: int
    document: str = ""


ProgressCallback = Callable[[Progress], None]


@dataclass(slots=True)
class IngestReport:
    """What a run did. The lists hold relative paths, sorted.

    Attributes:
        added: new documents.
        updated: documents whose chunks, or their places, changed.
        deleted: documents that are gone.
        unchanged: documents that needed nothing.
        repaired: unchanged documents whose chunks were missing from the index and have been written again.
        failed: documents that could not be read, each with its reason; their former chunks stay.
        chunks: chunks in the index after the run.
        written: chunks that were written, repaired ones included.
        seconds: how long it took.
    """

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    repaired: list[str] = field(default_factory=list)
    failed: list[tuple[str, str]] = field(default_factory=list)
    chunks: int = 0
    written: int = 0
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain data for JSON; a failure is {"path", "reason"}."""
        data = asdict(self)
        data["failed"] = [{"path": path, "reason": reason} for path, reason in self.failed]
        data["seconds"] = round(self.seconds, 3)
        return data


@dataclass(frozen=True, slots=True)
class DocumentState:
    """One document as the manifest knows it.

    Attributes:
        path: relative path.
        title: its title; "" where it could never be read.
        chunks: how many chunks it has in the index.
        state: "indexed", or "failed" when the last run could not read it.
        reason: why it failed; "" otherwise.
        bytes: size of the file.
        updated_at: seconds since the epoch of the last run that changed this record.
    """

    path: str
    title: str
    chunks: int
    state: Literal["indexed", "failed"]
    reason: str
    bytes: int
    updated_at: float
