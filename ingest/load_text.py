"""Plain text and Markdown."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.encodings import decode
from elysia_chat.ingest.errors import as_broken

if TYPE_CHECKING:
    from markdown_it.token import Token

_FRONT_MATTER = re.compile(r"\A---[ \t]*\r?\n(.*?)(?:\r?\n)(?:---|\.\.\.)[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_TAGS = re.compile(r"<!--.*?-->|<[^>]*>", re.DOTALL)
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\uff00-\uffef\u3000-\u303f"
_WIDE_BREAK = re.compile(f"(?<=[{_WIDE}]) ?\n ?(?=[{_WIDE}])")


def load_text(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read plain text in any encoding that `decode` knows; `name` is the title.

    Raises:
        DocumentError: see `loaders.load`.
    """
    builder = DocumentBuilder(limits)
    builder.paragraph(decode(data))
    return builder.build(name)


def load_markdown(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read CommonMark with tables as the text that a reader sees: no marks, no link targets, code as it is.

    YAML front matter gives the title where it has one and is otherwise left out, broken or not.

    Raises:
        DocumentError: see `loaders.load`.
    """
    from markdown_it import MarkdownIt

    title, source = _split_front_matter(decode(data))
    with as_broken("Markdown", RecursionError):
        tokens = MarkdownIt("commonmark").enable("table").parse(source)
    builder = DocumentBuilder(limits)
    _MarkdownWriter(builder).write(tokens)
    return builder.build(name, own_title=title)


def _split_front_matter(source: str) -> tuple[str, str]:
    match = _FRONT_MATTER.match(source)
    if match is None:
        return "", source
    import yaml

    try:
        # Aliases are shared objects here, so nothing is multiplied unless it is printed; only `title` is read.
        fields = yaml.safe_load(match[1])
    except (yaml.YAMLError, ValueError, RecursionError):
        fields = None
    title = fields.get("title") if isinstance(fields, dict) else None
    return (str(title) if isinstance(title, str | int) else ""), source[match.end() :]


class _MarkdownWriter:
    """Turns markdown-it's flat tokens into headings and paragraphs; a list or a table is one block."""

    def __init__(self, builder: DocumentBuilder) -> None:
        self._builder = builder
        self._lists: list[int | None] = []
        self._lines: list[str] = []
        self._cells: list[str] = []
        self._bullet = ""

    def write(self, tokens: Sequence["Token"]) -> None:
        heading = 0
        for token in tokens:
            match token.type:
                case "heading_open":
                    heading = int(token.tag[1:])
                case "heading_close":
                    heading = 0
                case "inline" if heading and not self._lists:
                    self._builder.heading(heading, _inline(token))
                case "inline":
                    self._inline(token)
                case "fence" | "code_block":
                    self._block(token.content)
                case "html_block":
                    self._block(_TAGS.sub("", token.content))
                case _:
                    self._structure(token)
        self._flush()

    def _structure(self, token: "Token") -> None:
        match token.type:
            case "bullet_list_open":
                self._lists.append(None)
            case "ordered_list_open":
                self._lists.append(int(token.attrs.get("start", 1)))
            case "list_item_open":
                self._open_item()
            case "bullet_list_close" | "ordered_list_close":
                self._lists.pop()
                self._flush_outside_lists()
            case "th_open" | "td_open":
                self._cells.append("")
            case "tr_close":
                self._lines.append(" | ".join(self._cells))
                self._cells = []
            case "table_close":
                self._flush_outside_lists()

    def _open_item(self) -> None:
        number = self._lists[-1]
        self._bullet = "  " * (len(self._lists) - 1) + ("- " if number is None else f"{number}. ")
        if number is not None:
            self._lists[-1] = number + 1

    def _inline(self, token: "Token") -> None:
        text = _inline(token)
        if self._cells:
            self._cells[-1] = " ".join(text.split())
        else:
            self._block(text)

    def _block(self, text: str) -> None:
        if not self._lists:
            self._builder.paragraph(text)
            return
        indent = self._bullet or "  " * len(self._lists)
        self._lines.append(indent + text.rstrip("\n").replace("\n", "\n" + " " * len(indent)))
        self._bullet = ""

    def _flush_outside_lists(self) -> None:
        if not self._lists:
            self._flush()

    def _flush(self) -> None:
        self._builder.paragraph("\n".join(self._lines))
        self._lines = []


def _inline(token: "Token") -> str:
    parts = []
    for child in token.children or []:
        match child.type:
            case "text" | "code_inline" | "text_special":
                parts.append(child.content)
            case "softbreak":
                parts.append("\n")
            case "hardbreak":
                parts.append("\v")
            case "html_inline" if child.content.lower().startswith("<br"):
                parts.append("\v")
            case "image":
                parts.append(_inline(child) or child.content)
    # A line end inside a paragraph is a space, and in Chinese nothing.
    return _WIDE_BREAK.sub("", "".join(parts)).replace("\n", " ").replace("\v", "\n")
