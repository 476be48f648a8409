"""One training example: a prompt as the chat builds it, and the answer that is wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Message = dict[str, str]
"""{"role": "system" | "user" | "assistant", "content": text}."""

ROLES = ("system", "user", "assistant")
TEXT_KIND = "text"
"""Kind of an example that is a text without a prompt, for incremental pre-training."""


@dataclass(frozen=True)
class Example:
    """A prompt with its answer, and what the checks need to know of them.

    Attributes:
        kind: what it teaches ("fact", "refusal", "small_talk", …).
        language: language of the answer, "zh" or "en".
        messages: the prompt; the last message is the user's.
        answer: what the model shall say.
        facts: keys of the facts that it teaches; a fact is in one split only.
        documents: keys of the documents it quotes; a document is in one split only.
        expected: strings of which one must stand in the answer; empty where none is.
        source: number of the passage that holds the answer, from 1; 0 where none does.
    """

    kind: str
    language: str
    messages: Sequence[Message]
    answer: str
    facts: tuple[str, ...] = ()
    documents: tuple[str, ...] = ()
    expected: tuple[str, ...] = ()
    source: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_record(self) -> dict[str, Any]:
        """Return the example as a JSON object, without what is empty."""
        record: dict[str, Any] = {
            "kind": self.kind,
            "language": self.language,
            "messages": list(self.messages),
            "answer": self.answer,
            "facts": list(self.facts),
            "documents": list(self.documents),
            "expected": list(self.expected),
            "source": self.source,
            **self.extra,
        }
        return {key: value for key, value in record.items() if value or key in ("messages", "answer")}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Example":
        """Read an example that `to_record` wrote."""
        return cls(
            kind=record.get("kind", "imported"),
            language=record.get("language", ""),
            messages=list(record["messages"]),
            answer=record["answer"],
            facts=tuple(record.get("facts", ())),
            documents=tuple(record.get("documents", ())),
            expected=tuple(record.get("expected", ())),
            source=record.get("source", 0),
            extra={"group": record["group"]} if record.get("group") else {},
        )
