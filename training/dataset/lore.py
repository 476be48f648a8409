"""Passages of a persona's own documents, and questions that can be read off their sentences."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.questions import dress
from elysia_chat.training.dataset.world import attributes

_SENTENCE = re.compile(r"[^。！？\n]+[。！？]?")
_NAMED = r"(?P<s>[\u4e00-\u9fff·]{2,8})(?:（[^）]{1,40}）)?"
_PATTERNS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        rf"^{_NAMED}的(?P<n>[\u4e00-\u9fff]{{2,5}})(?:是|叫作|叫|为)(?P<v>[^，。；、（]{{1,16}})",
        ("{s}的{n}是什么", "{s}的{n}叫什么", "你知道{s}的{n}吗"),
    ),
    (rf"^{_NAMED}(?:位于|坐落在|住在)(?P<v>[^，。；（]{{2,14}})", ("{s}在哪里", "{s}位于何处")),
    (rf"^{_NAMED}(?:生于|出生于|建于|成立于)(?P<v>[^，。；（]{{2,14}})", ("{s}是什么时候的", "{s}始于何时")),
    (rf"^{_NAMED}由(?P<v>[^，。；（]{{2,10}})(?:创立|建造|设计|发起|创建)", ("{s}是谁创立的", "谁建立了{s}")),
)
_NOT_NAMES = ("她", "他", "它", "这", "那", "其", "人们", "后来", "现在", "当时")
# Attributes that lore seldom holds; one is asked as missing only where none of its labels stands in the document.
_ABSENT = (
    "weight",
    "salary",
    "allergy",
    "petname",
    "drink",
    "siblings",
    "collects",
    "hides",
    "instrument",
    "spouse",
    "burial",
    "hated",
)


def lore_passages(documents: dict[str, Path], limit: int = 400) -> list[Passage]:
    """Cut Markdown documents at their headings into passages of at most about `limit` characters."""
    passages: list[Passage] = []
    for relpath, path in documents.items():
        if path.suffix.lower() not in (".md", ".txt"):
            continue
        title, heading, lines = path.stem, "", []
        for line in [*path.read_text(encoding="utf-8").splitlines(), "# "]:
            if not line.startswith("#"):
                lines.append(line)
                continue
            passages += _pieces(relpath, title, heading, "\n".join(lines).strip(), limit)
            lines = []
            text = line.lstrip("#").strip()
            if line.startswith("# ") and text:
                title, heading = text, ""
            else:
                heading = text
    return passages


def _pieces(relpath: str, title: str, heading: str, text: str, limit: int) -> list[Passage]:
    pieces, current = [], ""
    for sentence in _SENTENCE.findall(text):
        if current and len(current) + len(sentence) > limit:
            pieces.append(current)
            current = ""
        current += sentence
    if current.strip():
        pieces.append(current)
    return [
        Passage(f"lore/{relpath}", title, heading, piece.strip(), (), "zh", frozenset({relpath})) for piece in pieces
    ]


@dataclass(frozen=True)
class LoreQuestion:
    """A question read off a sentence of the lore."""

    passage: Passage
    wordings: tuple[str, ...]
    answer: str
    sentence: str


def lore_questions(passages: Sequence[Passage]) -> list[LoreQuestion]:
    """Read questions off plain sentences ("X's Y is Z")."""
    found = []
    for passage in passages:
        for sentence in _SENTENCE.findall(passage.text):
            for pattern, wordings in _PATTERNS:
                match = re.match(pattern, sentence.strip())
                if match and not match["s"].startswith(_NOT_NAMES):
                    parts = match.groupdict()
                    asked = tuple(item.format(s=parts["s"], n=parts.get("n", "")) for item in wordings)
                    found.append(LoreQuestion(passage, asked, parts["v"].strip("「」“”"), sentence.strip()))
    return found


def absent_question(rng: Random, shown: Sequence[Passage], passages: Sequence[Passage]) -> tuple[str, str] | None:
    """Ask for something that the documents of the passages shown do not hold.

    Returns:
        The question and a key for it, or None.
    """
    passage = rng.choice(shown)
    pool = {item.key: item for item in attributes("person")}
    attribute = pool[rng.choice(_ABSENT)]
    whole = "".join(item.text for item in passages if item.document == passage.document)
    if any(label in whole for label in attribute.labels["zh"]):
        return None
    question = dress(rng, "zh", rng.choice(attribute.questions["zh"]).replace("{s}", passage.title))
    return question, f"{passage.document}/{attribute.key}?"
