"""Text that others wrote, as HTML that is safe to show.

Everything in the page that comes from messages, models, documents, file names and cards passes through here.
"""

import re
from collections.abc import Container, Sequence
from functools import cache
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_CITATION = re.compile(r"\s*[\[［【](\d{1,2})[\]］】]")
_WEB_LINK = re.compile(r"https?://", re.IGNORECASE)

__all__ = ["escape", "marked", "reply_html"]


def reply_html(text: str, cited: Container[int] = ()) -> str:
    """Return a model's reply as HTML: Markdown without HTML, pictures and reference links.

    Args:
        text: the reply, perhaps not finished.
        cited: numbers in brackets that are shown as references; others stay as they are.
    """
    return str(_markdown().render(text, {"cited": cited}))


def marked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """Return plain text as HTML with the spans (start, end; in order, without overlap) marked."""
    pieces, last = [], 0
    for start, end in spans:
        pieces += [escape(text[last:start]), "<mark>", escape(text[start:end]), "</mark>"]
        last = end
    pieces.append(escape(text[last:]))
    return "".join(pieces)


@cache
def _markdown() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("commonmark", {"html": False, "breaks": True}).disable(["image", "reference"])
    markdown.validateLink = lambda url: bool(_WEB_LINK.match(url))  # type: ignore[method-assign]
    markdown.add_render_rule("text", _text_with_citations)
    markdown.add_render_rule("link_open", _outgoing_link)
    return markdown


def _text_with_citations(renderer: Any, tokens: Sequence[Any], index: int, options: Any, env: dict[str, Any]) -> str:
    def reference(match: re.Match[str]) -> str:
        number = int(match.group(1))
        return f'<sup class="cite">{number}</sup>' if number in env["cited"] else match.group()

    return _CITATION.sub(reference, escape(tokens[index].content))


def _outgoing_link(renderer: Any, tokens: Sequence[Any], index: int, options: Any, env: dict[str, Any]) -> str:
    tokens[index].attrSet("target", "_blank")
    tokens[index].attrSet("rel", "noopener noreferrer nofollow")
    return str(renderer.renderToken(tokens, index, options, env))
