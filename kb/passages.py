"""What may be done with the passages that were found: choose different ones, and join them with their neighbours."""

import math
from collections.abc import Sequence

from langchain_core.documents import Document

from elysia_chat.kb.store import KnowledgeBase


def diverse(found: Sequence[Document], knowledge_base: KnowledgeBase, k: int, balance: float) -> list[Document]:
    """Choose k passages by maximal marginal relevance (Carbonell and Goldstein 1998).

    Relevance is the score that the passages carry, so that the words of the question count as well as its meaning;
    likeness is the cosine of two passages.

    Args:
        found: passages with `score`, best first.
        knowledge_base: where their vectors are.
        k: how many to choose.
        balance: lambda; 1 is relevance alone, 0 is difference alone.

    Returns:
        The chosen ones in the order of choice.
    """
    vectors = knowledge_base.vectors_of([str(document.id) for document in found])
    left = [document for document in found if str(document.id) in vectors]
    likeness = {str(document.id): 0.0 for document in left}
    chosen: list[Document] = []
    while left and len(chosen) < k:
        best = max(
            left,
            key=lambda d: balance * d.metadata["score"] - (1.0 - balance) * likeness[str(d.id)],
        )
        chosen.append(best)
        left.remove(best)
        for document in left:
            key = str(document.id)
            likeness[key] = max(likeness[key], _cosine(vectors[key], vectors[str(best.id)]))
    return chosen


def join_neighbours(found: Sequence[Document], knowledge_base: KnowledgeBase) -> list[Document]:
    """Join each passage with the stored ones just before and after it in its document.

    A stored passage is used once: where two results stand side by side, the better one takes the other in. Text that
    two chunks share is kept once. `metadata["joined"]` lists the ids of what was joined, in reading order.
    """
    used: set[str] = set()
    joined: list[Document] = []
    for document in found:
        if str(document.id) in used:
            continue
        around = knowledge_base.neighbours(document.metadata["document"], document.metadata["position"])
        parts = [part for part in (*around, document) if str(part.id) not in used]
        parts.sort(key=lambda part: part.metadata["position"])
        used.update(str(part.id) for part in parts)
        text = _seamless(parts)
        metadata = {
            **document.metadata,
            "joined": [str(part.id) for part in parts],
            "position": parts[0].metadata["position"],
            "start": parts[0].metadata["start"],
        }
        joined.append(Document(id=document.id, page_content=text, metadata=metadata))
    return joined


def _seamless(parts: Sequence[Document]) -> str:
    """Return the text of chunks that follow each other, without repeating what two of them share."""
    text, end = "", 0
    for part in parts:
        content, start = part.page_content, part.metadata["start"]
        shared = _shared(text, content) if start < end else 0
        text = f"{text}\n{content}" if text and not shared else text + content[shared:]
        end = start + len(content)
    return text


def _shared(text: str, following: str) -> int:
    """Return how many characters the end of one text and the beginning of the next have in common."""
    lengths = range(min(len(text), len(following)), 0, -1)
    return next((length for length in lengths if text.endswith(following[:length])), 0)


def _cosine(first: Sequence[float], second: Sequence[float]) -> float:
    lengths = math.hypot(*first) * math.hypot(*second)
    return sum(a * b for a, b in zip(first, second, strict=True)) / lengths if lengths else 0.0
