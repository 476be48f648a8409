"""A chat as a file to keep: Markdown to read, JSON to go on with."""

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from elysia_chat.ui.web.sessions import Answer, Exchange, Session
from elysia_chat.ui.web.texts import TEXTS, Texts

if TYPE_CHECKING:
    from langchain_core.documents import Document


def as_json(session: Session, name: str) -> str:
    """Return a chat with its sources as JSON."""
    data = {
        "persona": session.persona,
        "name": name,
        "exported_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "exchanges": [
            {"question": exchange.question, "answers": [_answer_data(answer) for answer in exchange.answers]}
            for exchange in session.exchanges
        ],
    }
    return json.dumps(data, ensure_ascii=False, indent=2) + "\n"


def as_markdown(session: Session, name: str) -> str:
    """Return a chat with its sources as Markdown."""
    texts = TEXTS[session.language]
    blocks = [f"# {name}"]
    for exchange in session.exchanges:
        blocks += _exchange_blocks(exchange, name, texts)
    return "\n\n".join(blocks) + "\n"


def file_name(session: Session, extension: str) -> str:
    """Return a name for the file, such as elysia-20261122-0130.md."""
    return f"{session.persona}-{datetime.now().astimezone():%Y%m%d-%H%M}.{extension}"


def _exchange_blocks(exchange: Exchange, name: str, texts: Texts) -> list[str]:
    blocks = [_quoted(exchange.question)]
    for answer in exchange.answers:
        way = f" ({texts.with_lore if answer.lore else texts.without_lore})" if len(exchange.answers) > 1 else ""
        blocks.append(f"**{name}{way}**\n\n{answer.text}")
        if answer.lore and answer.cited and answer.passages:
            named = [(number, answer.passages[number - 1]) for number in answer.cited]
            blocks.append("\n".join(f"- [{number}] {_place(passage)}" for number, passage in named))
    return blocks


def _quoted(text: str) -> str:
    return "\n".join(f"> {line}" for line in text.splitlines())


def _place(passage: "Document") -> str:
    metadata = passage.metadata
    where = " › ".join(part for part in (metadata.get("title", ""), metadata.get("heading", "")) if part)
    return f"{where} ({metadata.get('document', '')})"


def _answer_data(answer: Answer) -> dict[str, Any]:
    return {
        "lore": answer.lore,
        "text": answer.text,
        "stopped": answer.stopped,
        "cited": list(answer.cited),
        "sources": [_source_data(number, passage) for number, passage in enumerate(answer.passages or (), 1)],
    }


def _source_data(number: int, passage: "Document") -> dict[str, Any]:
    kept = ("document", "title", "heading", "position", "score")
    return {"number": number, **{key: passage.metadata.get(key) for key in kept}, "text": passage.page_content}
