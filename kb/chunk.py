"""A chunk: one passage of a document, as it is embedded, indexed and shown."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.documents import Document

HEADING_SEPARATOR = " > "


def chunk_id(document: str, heading: str, text: str, occurrence: int = 0) -> str:
    """Return a chunk's identity: the same content in the same place has the same id in every run.

    Args:
        document: relative path of the document, with forward slashes.
        heading: headings above the passage, joined by " > ".
        text: the passage.
        occurrence: 0 for the first chunk with these three, 1 for the next, and so on.

    Returns:
        32 hexadecimal digits.
    """
    parts = (document, heading, text, str(occurrence))
    framed = b"".join(len(part.encode()).to_bytes(8, "big") + part.encode() for part in parts)
    return hashlib.sha256(framed).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage with its place.

    Attributes:
        id: from `chunk_id`.
        text: the passage as the reader sees it.
        document: relative path of its document, with forward slashes.
        title: title of its document.
        heading: the headings above it, joined by " > "; "" where there are none.
        position: its number in the document, from 0.
        start: offset of its first character in the document's text.
        language: "zh", "en" or "".
    """

    id: str
    text: str
    document: str
    title: str = ""
    heading: str = ""
    position: int = 0
    start: int = 0
    language: str = ""

    @property
    def indexed_text(self) -> str:
        """Text that is embedded and whose words are indexed: title and headings give the passage its subject."""
        parts = [self.title, *self.heading.split(HEADING_SEPARATOR)]
        context = HEADING_SEPARATOR.join(dict.fromkeys(part for part in parts if part))
        return f"{context}\n{self.text}" if context else self.text

    @property
    def metadata(self) -> dict[str, str | int]:
        """Everything but id and text, as LangChain metadata."""
        return {
            "document": self.document,
            "title": self.title,
            "heading": self.heading,
            "position": self.position,
            "start": self.start,
            "language": self.language,
        }

    def to_document(self) -> "Document":
        """Return the chunk as a LangChain document with its id; the page content is the text alone."""
        from langchain_core.documents import Document

        return Document(id=self.id, page_content=self.text, metadata=dict(self.metadata))

    @classmethod
    def from_stored(cls, identifier: str, text: str, metadata: Mapping[str, Any]) -> "Chunk":
        """Return the chunk that a store gave back as id, text and metadata."""
        return cls(
            id=identifier,
            text=text,
            document=str(metadata.get("document", "")),
            title=str(metadata.get("title", "")),
            heading=str(metadata.get("heading", "")),
            position=int(metadata.get("position", 0)),
            start=int(metadata.get("start", 0)),
            language=str(metadata.get("language", "")),
        )
