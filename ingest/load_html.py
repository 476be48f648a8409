"""HTML pages, and the pages of an EPUB."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.encodings import decode
from elysia_chat.ingest.errors import as_broken

if TYPE_CHECKING:
    from bs4 import BeautifulSoup, Tag

_DROPPED = (
    "script", "style", "nav", "noscript", "template", "iframe", "object", "svg", "canvas", "head", "form", "rp", "rt",
)  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_BLOCKS = frozenset(
    (
        "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "div",
        "dl", "dt", "fieldset", "figcaption", "figure", "footer", "header", "hr", "html", "main", "p", "section",
        "summary",
    )
)  # fmt: skip
_LINES = frozenset(("li", "tr", "br"))
_GROUPS = frozenset(("ul", "ol", "table", "pre"))
_CELLS = frozenset(("td", "th"))
_KEPT_SPACE = "\u00a0"
_SPACE = re.compile(r"[ \t\r\n\f]+")
_RUN = re.compile(r" {2,}")
_XML_DECLARATION = re.compile(r"\A\s*<\?xml.*?\?>", re.DOTALL)


def load_html(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read a page: headings, paragraphs, lists and tables, without scripts, styles and navigation.

    Raises:
        DocumentError: see `loaders.load`.
    """
    page = parse_html(data)
    builder = DocumentBuilder(limits)
    title = page.title.get_text() if page.title else ""
    write_html(page, builder)
    return builder.build(title or name)


def parse_html(data: bytes) -> "BeautifulSoup":
    """Parse a page; its own declaration of the encoding is believed where it can be.

    Raises:
        BrokenFileError: it is not text.
    """
    from bs4 import BeautifulSoup
    from bs4.dammit import EncodingDetector

    declared = EncodingDetector.find_declared_encoding(data, is_html=True, search_entire_document=False)
    text = _XML_DECLARATION.sub("", decode(data, declared), count=1)
    with as_broken("HTML", RecursionError, AssertionError, ValueError):
        return BeautifulSoup(text, "lxml")


def write_html(page: "BeautifulSoup", builder: DocumentBuilder, level: int = 0) -> None:
    """Add a page to a document.

    Args:
        page: what `parse_html` gave; dropped elements are removed from it.
        builder: takes the headings and paragraphs.
        level: added to the level of each heading.
    """
    for tag in page(_DROPPED):
        # `decompose` of an outer one has already emptied the inner ones.
        if not tag.decomposed:
            tag.decompose()
    for tag in page.select("[hidden], [role=navigation], [aria-hidden=true]"):
        if not tag.decomposed:
            tag.decompose()
    writer = _HtmlWriter(builder, level)
    for event, node in _walk(page):
        writer.take(event, node)
    writer.end_block()


def _walk(root: "Tag") -> Iterator[tuple[str, "Tag | str"]]:
    """Yield ("open" | "close", tag) and ("text", string) without recursion, however deep a page is nested."""
    from bs4 import Tag
    from bs4.element import PreformattedString

    stack: list[tuple[Tag, Iterator[object]]] = [(root, iter(root.contents))]
    while stack:
        tag, children = stack[-1]
        child = next(children, None)
        if child is None:
            stack.pop()
            yield "close", tag
        elif isinstance(child, Tag):
            yield "open", child
            stack.append((child, iter(child.contents)))
        elif isinstance(child, str) and not isinstance(child, PreformattedString):
            yield "text", child


class _HtmlWriter:
    def __init__(self, builder: DocumentBuilder, level: int) -> None:
        self._builder = builder
        self._level = level
        self._text: list[str] = []
        self._depth = {"group": 0, "list": 0, "pre": 0, "cell": 0}

    def take(self, event: str, node: "Tag | str") -> None:
        if event == "text":
            self._add(str(node))
        elif event == "open":
            self._open(node.name)  # type: ignore[union-attr]
        else:
            self._close(node.name)  # type: ignore[union-attr]

    def end_block(self) -> None:
        """Hand over what has been collected as one paragraph."""
        lines = (_RUN.sub(" ", line).strip(" ") for line in "".join(self._text).split("\n"))
        self._text = []
        self._builder.paragraph("\n".join(line.rstrip("| ") for line in lines if line.strip()))

    def _add(self, text: str) -> None:
        # No-break spaces survive until the builder turns them into spaces, so code keeps its indentation.
        self._text.append(text.replace(" ", _KEPT_SPACE) if self._depth["pre"] else _SPACE.sub(" ", text))

    def _open(self, name: str) -> None:
        if name in _GROUPS:
            self._enter_group(name)
        elif name in _HEADINGS or (name in _BLOCKS and not self._depth["group"]):
            self.end_block()
        elif name in _LINES or (name in _BLOCKS and not self._depth["cell"]):
            # A paragraph at the begin of a list item stays on the bullet's line.
            if name in _LINES or not (self._text and self._text[-1].endswith("- ")):
                self._text.append("\n")
        elif name in _BLOCKS:
            self._text.append(" ")
        if name == "li":
            self._text.append(_KEPT_SPACE * 2 * (self._depth["list"] - 1) + "- ")
        self._depth["cell"] += name in _CELLS

    def _close(self, name: str) -> None:
        self._depth["cell"] -= name in _CELLS
        if name in _HEADINGS:
            self._builder.heading(_HEADINGS[name] + self._level, "".join(self._text))
            self._text = []
        elif name in _GROUPS:
            self._leave_group(name)
        elif name in _CELLS:
            self._text.append(" | ")
        elif name in _BLOCKS:
            if self._depth["group"]:
                self._text.append(" " if self._depth["cell"] else "\n")
            else:
                self.end_block()

    def _enter_group(self, name: str) -> None:
        if not self._depth["group"]:
            self.end_block()
        self._text.append("\n")
        self._depth["group"] += 1
        self._depth["list"] += name in ("ul", "ol")
        self._depth["pre"] += name == "pre"

    def _leave_group(self, name: str) -> None:
        self._depth["group"] -= 1
        self._depth["list"] -= name in ("ul", "ol")
        self._depth["pre"] -= name == "pre"
        if not self._depth["group"]:
            self.end_block()
