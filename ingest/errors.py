"""What can go wrong on the way from a file to the index.

IngestError
├── DocumentError            one file; the others go on, and the report lists it with its reason
│   ├── EmptyFileError       nothing to read in it
│   ├── EncryptedFileError   it needs a password
│   ├── BrokenFileError      it is not what its name says, or damaged
│   ├── UnknownTypeError     no loader for its extension
│   ├── TooLargeError        over the size limit
│   ├── LinkOutsideError     a link that leads out of its folder
│   ├── ArchiveBombError     an archive that unpacks to too much
│   └── UnreadableFileError  the system refuses to open it
├── IngestBusyError          another run writes this index
├── IngestCancelledError     the run was asked to stop
└── ManifestError            the record of what is indexed cannot be read
"""

from collections.abc import Iterator
from contextlib import contextmanager

from elysia_chat.configs.errors import ElysiaChatError


class IngestError(ElysiaChatError):
    """The root of this folder's errors."""


class DocumentError(IngestError):
    """One file cannot be taken in.

    Attributes:
        reason: one line: what is wrong and what to do.
        document: name of the file; "" until the loader that was asked for the file adds it.
    """

    def __init__(self, reason: str, document: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.document = document

    def __str__(self) -> str:
        return f"{self.document}: {self.reason}" if self.document else self.reason


class EmptyFileError(DocumentError):
    """There is no text in the file."""


class EncryptedFileError(DocumentError):
    """The file needs a password."""


class BrokenFileError(DocumentError):
    """The file is damaged, or is not what its name says."""


class UnknownTypeError(DocumentError):
    """No loader knows the file's extension."""


class TooLargeError(DocumentError):
    """The file, or the text in it, is over the size limit."""


class LinkOutsideError(DocumentError):
    """The file is a link that leads out of its folder."""


class ArchiveBombError(DocumentError):
    """The file is an archive that unpacks to more than the limit."""


class UnreadableFileError(DocumentError):
    """The system refuses to open the file."""


class IngestBusyError(IngestError):
    """Another run is writing this index."""


class IngestCancelledError(IngestError):
    """The run was asked to stop; the next one goes on where it stopped."""


class ManifestError(IngestError):
    """The record of what is indexed cannot be read."""


@contextmanager
def as_broken(kind: str, *exceptions: type[Exception]) -> Iterator[None]:
    """Turn a library's exceptions into `BrokenFileError`, which keeps them as its cause.

    Args:
        kind: what the file was read as, for the message ("PDF").
        exceptions: what that library raises for damaged input.

    Raises:
        BrokenFileError: one of them was raised inside.
    """
    try:
        yield
    except exceptions as error:
        lines = str(error).strip().splitlines()
        detail = f" ({lines[0][:160]})" if lines else ""
        msg = f"cannot be read as {kind}: damaged or of another type{detail}"
        raise BrokenFileError(msg) from error
