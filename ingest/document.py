"""A loaded document: its text as one string, and the sections that its headings make of it."""

import re
import unicodedata
from dataclasses import dataclass, replace

from elysia_chat.ingest.errors import TooLargeError

_BLOCK_END = "\n\n"
_LONGEST_HEADING = 200
_LINE_ENDS = re.compile(r"\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\xad\u200b\u2060\ufeff]")
_SURROGATES = re.compile(r"[\ud800-\udfff]")
_TRAILING_SPACE = re.compile(r"[ \t\u3000]+$", re.MULTILINE)
_MANY_NEWLINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class Limits:
    """What a file may cost.

    Attributes:
        file_bytes: largest file that is read.
        unpacked_bytes: largest sum of an archive's members, and most characters of text taken from any file.
    """

    file_bytes: int = 50_000_000
    unpacked_bytes: int = 300_000_000


@dataclass(frozen=True, slots=True)
class Section:
    """The text under one heading.

    Attributes:
        heading_path: the headings above the text, outermost first; () before the first heading.
        text: the text without its heading; "" under a heading that has nothing under it.
        start: offset of `text` in the document's text.
        head: offset of the heading line(s) that opened the section; equal to `start` where there are none.
        opened: how many of the path's last headings stand there; the others stand further up.
    """

    heading_path: tuple[str, ...]
    text: str
    start: int
    head: int
    opened: int = 0

    @property
    def end(self) -> int:
        """Offset behind the section's last character."""
        return self.start + len(self.text)


@dataclass(frozen=True, slots=True)
class LoadedDocument:
    """A document as text.

    Attributes:
        title: from the document itself, or its file name without the extension.
        text: everything, heading lines included; `text[s.start:s.end] == s.text` for each section.
        sections: in the order of the text.
    """

    title: str
    text: str
    sections: tuple[Section, ...]


def clean(text: str) -> str:
    r"""Return text in one form: NFC, `\n` line ends, no invisible characters, at most one empty line in a row."""
    text = _INVISIBLE.sub("", _LINE_ENDS.sub("\n", _SURROGATES.sub("\ufffd", text))).replace("\xa0", " ")
    text = unicodedata.normalize("NFC", text)
    return _MANY_NEWLINES.sub(_BLOCK_END, _TRAILING_SPACE.sub("", text)).strip("\n")


def clean_line(text: str) -> str:
    """Return text on one line, with single spaces."""
    return " ".join(clean(text).split())


class DocumentBuilder:
    """Collects headings and paragraphs in reading order and keeps the offsets."""

    def __init__(self, limits: Limits) -> None:
        self._limit = limits.unpacked_bytes
        self._blocks: list[str] = []
        self._length = 0
        self._open: list[tuple[int, str]] = []
        self._head: int | None = None
        self._opened = 0
        self._heading_end = 0
        self._first_heading_end = 0
        self._body: tuple[int, int] | None = None
        self._sections: list[Section] = []

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing yet, not even a heading."""
        return not self._blocks

    def heading(self, level: int, text: str) -> None:
        """Open a section.

        Args:
            level: 1 is the outermost.
            text: the heading; an empty one is ignored, one too long to be a heading becomes a paragraph.

        Raises:
            TooLargeError: more text than the limit.
        """
        text = clean_line(text)
        if not text:
            return
        if len(text) > _LONGEST_HEADING:
            self.paragraph(text)
            return
        if self._body or (self._open and level <= self._open[-1][0]):
            self._close()
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, text))
        start, self._heading_end = self._add(text)
        self._opened += 1
        if self._head is None:
            self._head = start
        if start == 0:
            self._first_heading_end = self._heading_end

    def paragraph(self, text: str) -> None:
        """Add a block of text to the open section.

        Raises:
            TooLargeError: more text than the limit.
        """
        text = clean(text)
        if not text.strip():
            return
        start, end = self._add(text)
        self._body = (self._body[0] if self._body else start, end)

    def build(self, fallback_title: str, *, own_title: str = "", title_heading: bool = True) -> LoadedDocument:
        """Return the document.

        Args:
            fallback_title: used where the document has no title of its own: the file's name.
            own_title: what the format calls its title; "" for none.
            title_heading: whether a heading that everything stands under is the title. It then leaves the heading
                paths, unless `own_title` says something else.
        """
        self._close()
        text = _BLOCK_END.join(self._blocks)
        own_title = clean_line(own_title)
        roots = {section.heading_path[:1] for section in self._sections}
        if title_heading and self._first_heading_end and len(roots) == 1:
            root = roots.pop()[0]
            if own_title in ("", root):
                return LoadedDocument(root, text, self._without_root(text))
        return LoadedDocument(own_title or clean_line(fallback_title), text, tuple(self._sections))

    def _without_root(self, text: str) -> tuple[Section, ...]:
        sections = [replace(section, heading_path=section.heading_path[1:]) for section in self._sections]
        after_title = self._first_heading_end
        while after_title < len(text) and text[after_title] == "\n":
            after_title += 1
        first = sections[0]
        sections[0] = replace(first, head=min(after_title, first.start), opened=first.opened - 1)
        return tuple(sections)

    def _add(self, block: str) -> tuple[int, int]:
        start = self._length + (len(_BLOCK_END) if self._blocks else 0)
        self._length = start + len(block)
        if self._length > self._limit:
            msg = f"holds more than {self._limit / 1e6:g} million characters of text; split it into smaller files"
            raise TooLargeError(msg)
        self._blocks.append(block)
        return start, self._length

    def _close(self) -> None:
        if self._body is None and self._head is None:
            return
        start, end = self._body or (self._heading_end, self._heading_end)
        text = "" if self._body is None else self._span(start, end)
        head = start if self._head is None else self._head
        self._sections.append(Section(tuple(name for _, name in self._open), text, start, head, self._opened))
        self._body = self._head = None
        self._opened = 0

    def _span(self, start: int, end: int) -> str:
        """Join the last blocks that make up [start, end)."""
        blocks: list[str] = []
        length = -len(_BLOCK_END)
        for block in reversed(self._blocks):
            blocks.append(block)
            length += len(block) + len(_BLOCK_END)
            if length >= end - start:
                break
        return _BLOCK_END.join(reversed(blocks))
