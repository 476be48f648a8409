"""From a loaded document to chunks: one passage each, cut where a reader would pause.

Every chunk is a slice of the document's text. Sections too small to be found by themselves are joined with a sibling
and keep their heading lines in the text; sections over the size are cut at paragraphs, then sentences, then clauses,
and a scrap that would be left over is evened out with its neighbour.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from elysia_chat.ingest.document import LoadedDocument, Section
from elysia_chat.kb.chunk import HEADING_SEPARATOR, Chunk, chunk_id

if TYPE_CHECKING:
    from langchain_text_splitters import RecursiveCharacterTextSplitter

_SENTENCE_END = r"(?:[。！？!?…]+[”’」』】）)\"']*|\.[”’)\"']*(?=\s))\s*"
_CLAUSE_END = r"[；;，,、：:][”’」』】）)\"']*\s*"
SEPARATORS = (r"\n\n+", r"\n", _SENTENCE_END, _CLAUSE_END, r"\s+", "")
"""Where to cut, best first, as regular expressions; each stays at the end of what it closes."""

_BOUNDARIES = tuple(re.compile(separator) for separator in SEPARATORS[:-1])
_TINY_SHARE = 4
_IDEOGRAPH = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]")
_LATIN_WORD = re.compile(r"[A-Za-z]+")


@dataclass(frozen=True, slots=True)
class _Span:
    """A slice [start, end) of the document's text.

    Attributes:
        path: headings above all of it.
        bare: whether it is only a heading with nothing under it.
        follows: whether it goes on where the span before it was cut.
    """

    path: tuple[str, ...]
    start: int
    end: int
    bare: bool = False
    follows: bool = False

    @property
    def length(self) -> int:
        return self.end - self.start


def split(document: LoadedDocument, relpath: str, chunk_size: int, chunk_overlap: int) -> list[Chunk]:
    """Cut a document into chunks.

    Args:
        document: what a loader gave.
        relpath: the document's relative path, with forward slashes.
        chunk_size: most characters in a chunk, overlap included.
        chunk_overlap: most characters at a chunk's begin that repeat the one before; whole sentences or clauses alone.

    Returns:
        chunks in reading order; `document.text[c.start : c.start + len(c.text)] == c.text` for each.

    Raises:
        ValueError: the overlap is not smaller than the size.
    """
    if not 0 <= chunk_overlap < chunk_size:
        msg = f"chunk_overlap ({chunk_overlap}) must be smaller than chunk_size ({chunk_size})"
        raise ValueError(msg)
    text, size = document.text, chunk_size - chunk_overlap
    groups = _join_tiny_sections(document, size)
    spans = [piece for group in groups for piece in _cut(text, group, size)]
    spans = _even_out(text, spans, size)
    return _to_chunks(document, relpath, _overlapped(text, spans, chunk_overlap))


def language_of(text: str) -> str:
    """Return "zh" or "en" by the script that carries more of the text's words; "" where there are none."""
    ideographs, words = len(_IDEOGRAPH.findall(text)), len(_LATIN_WORD.findall(text))
    if not ideographs and not words:
        return ""
    return "zh" if ideographs >= words else "en"


def _to_chunks(document: LoadedDocument, relpath: str, spans: Iterable[_Span]) -> list[Chunk]:
    seen: Counter[tuple[str, str]] = Counter()
    chunks: list[Chunk] = []
    for span in spans:
        heading, text = HEADING_SEPARATOR.join(span.path), document.text[span.start : span.end]
        occurrence = seen[heading, text]
        seen[heading, text] += 1
        chunks.append(
            Chunk(
                id=chunk_id(relpath, heading, text, occurrence),
                text=text,
                document=relpath,
                title=document.title,
                heading=heading,
                position=len(chunks),
                start=span.start,
                language=language_of(text),
            )
        )
    return chunks


def _join_tiny_sections(document: LoadedDocument, size: int) -> list[_Span]:
    """Return one span for each section, or for each run of siblings of which some are tiny."""
    tiny = size // _TINY_SHARE
    groups: list[_Span] = []
    run: list[Section] = []
    for section, following in zip(document.sections, [*document.sections[1:], None], strict=False):
        if run and not _belongs(run, section, following, size, tiny):
            groups.append(_span_of(run))
            run = []
        run.append(section)
    if run:
        groups.append(_span_of(run))
    return [trimmed for group in groups if (trimmed := _trimmed(document.text, group)).length]


def _belongs(run: Sequence[Section], section: Section, following: Section | None, size: int, tiny: int) -> bool:
    """Whether a section joins the run before it: they are related, it fits, and one of them is tiny."""
    joined = _span_of([*run, section])
    if not _related(run, section) or joined.length > size:
        return False
    if len(_body(run)) < tiny:
        return True
    if len(section.text) >= tiny:
        return False
    # A tiny section goes with what follows it, unless that is another topic or too long.
    return following is None or not _related([section], following) or _span_of([section, following]).length > size


def _body(run: Sequence[Section]) -> str:
    return "".join(section.text for section in run)


def _related(run: Sequence[Section], section: Section) -> bool:
    """Whether they stand under the same heading, give or take one level, and no heading is lost in joining them."""
    common = len(_common_path([*run, section]))
    lost = len(run[0].heading_path) - common
    return lost <= run[0].opened and common >= min(len(other.heading_path) for other in (*run, section)) - 1


def _common_path(sections: Sequence[Section]) -> tuple[str, ...]:
    path = sections[0].heading_path
    for section in sections[1:]:
        length = 0
        for ours, theirs in zip(path, section.heading_path, strict=False):
            if ours != theirs:
                break
            length += 1
        path = path[:length]
    return path


def _span_of(run: Sequence[Section]) -> _Span:
    """Return what a run covers; its first heading line is in it unless the path still says it."""
    path, first = _common_path(run), run[0]
    bare = not any(section.text for section in run)
    start = first.start if path == first.heading_path and not bare else first.head
    return _Span(path, start, run[-1].end, bare)


def _trimmed(text: str, span: _Span) -> _Span:
    """Return the span without white space at its ends."""
    piece = text[span.start : span.end]
    start = span.start + len(piece) - len(piece.lstrip())
    return replace(span, start=start, end=max(start, span.start + len(piece.rstrip())))


def _cut(text: str, span: _Span, size: int) -> Iterator[_Span]:
    """Yield a span in pieces of at most `size` characters."""
    if span.length <= size:
        yield span
        return
    start = span.start
    for piece in _recursive_splitter(size).split_text(text[span.start : span.end]):
        part = _trimmed(text, replace(span, start=start, end=start + len(piece), follows=start > span.start))
        start += len(piece)
        if part.length:
            yield part


@lru_cache(maxsize=8)
def _recursive_splitter(size: int) -> "RecursiveCharacterTextSplitter":
    """Return a splitter whose pieces, joined, are the text again: that is what keeps the offsets right."""
    from langchain_text_splitters import RecursiveCharacterTextSplitter

    return RecursiveCharacterTextSplitter(
        list(SEPARATORS),
        keep_separator="end",
        is_separator_regex=True,
        chunk_size=size,
        chunk_overlap=0,
        strip_whitespace=False,
    )


def _even_out(text: str, spans: Sequence[_Span], size: int) -> list[_Span]:
    """Join each scrap of a cut section, and each heading with nothing under it, with a neighbour."""
    done: list[_Span] = []
    waiting = list(reversed(spans))
    while waiting:
        span = waiting.pop()
        before = done[-1] if done else None
        after = waiting[-1] if waiting else None
        if span.length >= size // _TINY_SHARE and not span.bare:
            done.append(span)
        elif before and (span.follows or span.bare) and _joined(before, span).length <= size:
            done[-1] = _joined(before, span)
        elif after and (after.follows or span.bare) and _joined(span, after).length <= size:
            waiting[-1] = _joined(span, after)
        elif before and (span.follows or span.bare) and span.length <= size // 2:
            done[-1:] = _halves(text, _joined(before, span), size, behind=span.start)
        elif after and (after.follows or span.bare) and span.length <= size // 2:
            # What is behind the cut waits for its own turn; the other half is done with, so that each turn ends one.
            halves = _halves(text, _joined(span, after), size, before=span.end)
            done.append(halves[0])
            waiting[-1:] = halves[1:]
        else:
            done.append(span)
    return done


def _joined(first: _Span, second: _Span) -> _Span:
    main = second if first.bare and not second.bare else first
    return _Span(main.path, first.start, second.end, first.bare and second.bare, first.follows)


def _halves(text: str, span: _Span, size: int, *, before: int | None = None, behind: int | None = None) -> list[_Span]:
    """Cut a span in two at the best boundary near its middle, so that neither half is over the size.

    The cut lies behind `before`, or before `behind`: what the scrap was joined for stays with its neighbour.
    """
    middle = (span.start + span.end) // 2
    low = max(span.end - size, span.start + 1, (before or 0) + 1)
    high = min(span.start + size, span.end - 1, (behind or span.end) - 1)
    reach = max(1, span.length // 6)
    cut = min(max(middle, low), high)
    for boundary in _BOUNDARIES:
        ends = [match.end() for match in boundary.finditer(text, max(low, cut - reach) - 1, min(high, cut + reach))]
        usable = [end for end in ends if low <= end <= high]
        if usable:
            cut = min(usable, key=lambda end: abs(end - middle))
            break
    halves = (replace(span, end=cut, bare=False), replace(span, start=cut, bare=False, follows=True))
    return [trimmed for half in halves if (trimmed := _trimmed(text, half)).length]


def _overlapped(text: str, spans: Sequence[_Span], overlap: int) -> Iterator[_Span]:
    """Yield the spans, those that go on from another begun earlier by whole clauses of at most `overlap` characters."""
    for number, span in enumerate(spans):
        if not overlap or not span.follows or not number:
            yield span
            continue
        low = max(span.start - overlap, spans[number - 1].start + 1)
        starts = (
            match.end()
            for boundary in _BOUNDARIES[:4]
            for match in boundary.finditer(text, low - 1, span.start)
            if low <= match.end() < span.start
        )
        yield _trimmed(text, replace(span, start=next(starts, span.start)))
