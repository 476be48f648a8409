"""PDF, page by page."""

import io
import re
import struct
import zlib
from typing import TYPE_CHECKING

from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.errors import EmptyFileError, EncryptedFileError, as_broken

if TYPE_CHECKING:
    from pypdf import PdfReader

_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff0c"
# A line of Chinese that ends without a mark goes on in the next one.
_WRAPPED_WIDE = re.compile(f"(?<=[{_WIDE}])\n(?=[{_WIDE}])")
_WRAPPED_LATIN = re.compile(r"(?<=[a-z,;])\n(?=[a-z])")
_HYPHENATED = re.compile(r"(?<=[a-z])-\n(?=[a-z])")
# What a damaged file makes of pypdf, beside its own errors.
_DAMAGE: tuple[type[Exception], ...] = (
    ValueError, KeyError, IndexError, TypeError, AttributeError, AssertionError, RecursionError, OverflowError,
    NotImplementedError, OSError, EOFError, struct.error, zlib.error, MemoryError,
)  # fmt: skip


def load_pdf(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read the text of each page under the heading "p. N".

    Raises:
        EncryptedFileError: it needs a password (an empty one is tried).
        EmptyFileError: no page has text.
        DocumentError: see `loaders.load`.
    """
    from pypdf import PdfReader
    from pypdf.errors import DependencyError, PyPdfError

    builder = DocumentBuilder(limits)
    try:
        with as_broken("PDF", PyPdfError, *_DAMAGE):
            reader = PdfReader(io.BytesIO(data))
            _unlock(reader)
            for number, page in enumerate(reader.pages, start=1):
                text = _join_wrapped_lines(page.extract_text())
                if text.strip():
                    builder.heading(1, f"p. {number}")
                    builder.paragraph(text)
            title = str((reader.metadata and reader.metadata.title) or "")
    except DependencyError as error:
        msg = "is encrypted in a way that needs the 'cryptography' package; install it, or save it without a password"
        raise EncryptedFileError(msg) from error
    if builder.is_empty:
        msg = "no text; scanned? Run it through text recognition (OCR) first"
        raise EmptyFileError(msg)
    return builder.build(name, own_title=title, title_heading=False)


def _unlock(reader: "PdfReader") -> None:
    if reader.is_encrypted and not reader.decrypt(""):
        msg = "needs a password; save it without one"
        raise EncryptedFileError(msg)


def _join_wrapped_lines(text: str) -> str:
    text = _HYPHENATED.sub("", text.replace("\r\n", "\n"))
    return _WRAPPED_LATIN.sub(" ", _WRAPPED_WIDE.sub("", text))
