"""The passages that an answer stands on, as HTML."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from elysia_chat.ui.web.markup import escape, marked
from elysia_chat.ui.web.texts import Texts

if TYPE_CHECKING:
    from langchain_core.documents import Document

_TEASER_CHARS = 90
_TEASER_LEAD = 12


def sources_html(question: str, passages: Sequence["Document"], cited: Sequence[int], texts: Texts) -> str:
    """Return the sources of an answer: the cited passages first, the others of the prompt behind a disclosure.

    Args:
        question: its words are marked in the passages.
        passages: those of the prompt, in its numbering from 1.
        cited: numbers that the answer names.
        texts: the interface.
    """
    if not passages:
        return ""
    named = [number for number in cited if 1 <= number <= len(passages)]
    others = [number for number in range(1, len(passages) + 1) if number not in named]
    shown = "".join(passage_html(question, passages[number - 1], texts, number=number) for number in named)
    hidden = "".join(passage_html(question, passages[number - 1], texts, number=number) for number in others)
    if hidden:
        summary = (texts.also_read if named else texts.also_read_only).format(count=len(others))
        hidden = f'<details class="also"><summary>{escape(summary)}</summary>{hidden}</details>'
    return f'<div class="sources">{shown}{hidden}</div>'


def passage_html(
    question: str,
    passage: "Document",
    texts: Texts,
    *,
    number: int | None = None,
    note: str = "",
    opened: bool = False,
) -> str:
    """Return one passage: where it is from, its score, and its text with the question's words marked."""
    from elysia_chat.kb.highlight import matching_spans

    text = passage.page_content
    spans = matching_spans(question, text) if question else []
    start, end = _teaser(text, spans)
    inside = [(max(a, start) - start, min(b, end) - start) for a, b in spans if a < end and b > start]
    teaser = ("…" if start else "") + marked(text[start:end], inside) + ("…" if end < len(text) else "")
    badge = "" if number is None else f'<span class="number">{number}</span>'
    document = escape(str(passage.metadata.get("document", "")))
    return (
        f'<details class="passage"{" open" if opened else ""}><summary>{badge}'
        f'<span class="where">{_where(passage)}</span>{_score(passage, texts)}'
        f'<span class="teaser">{teaser}</span></summary>'
        f"<blockquote>{marked(text, spans)}</blockquote>"
        f'<div class="from"><code>{document}</code>{f"<span>{escape(note)}</span>" if note else ""}</div></details>'
    )


def _where(passage: "Document") -> str:
    title = str(passage.metadata.get("title") or passage.metadata.get("document", ""))
    heading = str(passage.metadata.get("heading", ""))
    parts = dict.fromkeys(part for part in (title, *heading.split(" > ")) if part)
    return ' <span class="sep">›</span> '.join(escape(part) for part in parts)


def _score(passage: "Document", texts: Texts) -> str:
    score = passage.metadata.get("score")
    if not isinstance(score, int | float):
        return ""
    return f'<span class="score" title="{escape(texts.score)}">{score:.2f}</span>'


def _teaser(text: str, spans: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """Return the part of a passage to show while it is closed: where most words of the question stand together."""

    def words_from(start: int) -> int:
        return len({text[a:b].casefold() for a, b in spans if start <= a and b <= start + _TEASER_CHARS})

    starts = [max(0, start - _TEASER_LEAD) for start, _ in spans]
    start = max(starts, key=words_from, default=0)
    return start, min(len(text), start + _TEASER_CHARS)
