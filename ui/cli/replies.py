"""Replies in the terminal: shown while they come, then as data."""

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from langchain_core.documents import Document

    from elysia_chat.chains.events import Event, Finished

_EXCERPT_CHARS = 160


def play(run: Run, events: "Iterable[Event]", speaker: str = "") -> "Finished":
    """Write a reply to stdout as it comes, after the speaker's name if there is one, and return its last event."""
    from elysia_chat.chains.events import Finished, Searching, Token

    finished, begun = Finished(""), False
    with ExitStack() as waiting:
        waiting.enter_context(run.waiting("thinking"))
        try:
            for event in events:
                match event:
                    case Searching(question):
                        run.note(f"(searching: {question})")
                    case Token(text):
                        waiting.close()
                        run.stream(text if begun or not speaker else f"{speaker}: {text}")
                        begun = True
                    case Finished():
                        finished = event
        except (ElysiaChatError, KeyboardInterrupt):
            run.stream("\n" if begun else "")
            raise
    run.stream(" …\n" if finished.stopped or finished.truncated else "\n")
    return finished


def reply_data(finished: "Finished") -> dict[str, Any]:
    """Return a reply as plain data for JSON; times are seconds."""
    from elysia_chat.chains.refusal import is_refusal

    return {
        "answer": finished.answer,
        "sources": sources_data(finished.passages, finished.cited),
        "timings": {name: _rounded(seconds) for name, seconds in asdict(finished.timings).items()},
        "usage": asdict(finished.usage),
        "refused": is_refusal(finished.answer),
        "stopped": finished.stopped,
        "truncated": finished.truncated,
    }


def sources_data(passages: "Iterable[Document]", cited: Iterable[int] | None = None) -> list[dict[str, Any]]:
    """Return passages as plain data; `cited` is left out where nothing could cite them."""
    return [
        {
            "number": number,
            "document": passage.metadata.get("document", ""),
            "title": passage.metadata.get("title", ""),
            "heading": passage.metadata.get("heading", ""),
            "text": passage.page_content,
            "score": _rounded(passage.metadata.get("score")),
            **({} if cited is None else {"cited": number in cited}),
        }
        for number, passage in enumerate(passages, start=1)
    ]


def show_sources(run: Run, sources: Iterable[dict[str, Any]], *, whole: bool = False) -> None:
    """Print passages: number, place, score, and their text.

    Args:
        run: where to print.
        sources: from `sources_data`.
        whole: the whole text of each, not its beginning.
    """
    from rich.padding import Padding
    from rich.text import Text

    for source in sources:
        place = " › ".join(part for part in (source["title"], source["heading"].replace(" > ", " › ")) if part)
        score = "" if source["score"] is None else f" · {source['score']:.2f}"
        mark = " ★" if source.get("cited") else ""
        run.out.print(printable(f"[{source['number']}]{mark} {place}"), style="bold")
        run.out.print(printable(f"    {source['document']}{score}"), style="dim")
        text = source["text"] if whole else _excerpt(source["text"])
        run.out.print(Padding(Text(printable(text)), (0, 0, 0, 4), expand=False))


def _excerpt(text: str) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= _EXCERPT_CHARS else f"{joined[:_EXCERPT_CHARS]}…"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(float(value), 4)
