"""The evidence in a passage: the sentences that most likely answer the question, in their order, for a short prompt."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from elysia_chat.kb.chunk import HEADING_SEPARATOR, Chunk
from elysia_chat.kb.sentences import keep_sentences, sentences

if TYPE_CHECKING:
    from elysia_chat.kb.rerank import Reranker

EVIDENCE = "evidence"
_HEADING = re.compile(r"#{1,6}\s+(.*?)[\s#]*$")


class _Parts:
    """The sentences of a passage, and which of its heading lines each stands under.

    Attributes:
        above: for each sentence by its number, the number of the heading line above it within the passage or None;
            heading lines themselves are not among them.
    """

    def __init__(self, passage: Document) -> None:
        self._passage = passage
        self._texts = sentences(passage.page_content)
        self.above: dict[int, int | None] = {}
        heading = None
        for number, text in enumerate(self._texts):
            if _HEADING.match(text):
                heading = number
            else:
                self.above[number] = heading

    def indexed(self, number: int) -> str:
        """Return a sentence as if it were a passage of its own, with the headings above it."""
        above, metadata = self.above[number], self._passage.metadata
        inner = "" if above is None else _HEADING.sub(r"\1", self._texts[above])
        heading = HEADING_SEPARATOR.join(filter(None, [str(metadata.get("heading", "")), inner]))
        return Chunk.from_stored("", self._texts[number], {**metadata, "heading": heading}).indexed_text

    def kept(self, numbers: Sequence[int]) -> str:
        """Return the passage with these sentences and the heading lines above them alone."""
        headings = {above for number in numbers if (above := self.above[number]) is not None}
        return keep_sentences(self._passage.page_content, {*numbers, *headings})


def add_evidence(question: str, passages: Sequence[Document], reranker: "Reranker", most: int) -> None:
    """Set `metadata["evidence"]` of each passage to its best sentences; the passage itself stays whole.

    A sentence is scored with the title and headings above it. A heading line within a passage stays with what is kept
    below it. What is left out becomes “…”. A passage of at most so many sentences is its own evidence.

    Args:
        question: what was asked.
        passages: found ones; their metadata is changed.
        reranker: scores (question, sentence).
        most: sentences to keep of a passage, at least 1.
    """
    long: list[tuple[Document, _Parts]] = []
    for passage in passages:
        passage.metadata[EVIDENCE] = passage.page_content
        if len((parts := _Parts(passage)).above) > most:
            long.append((passage, parts))
    texts = [parts.indexed(number) for _, parts in long for number in parts.above]
    scores = iter(reranker.scores(question, texts) if texts else [])
    for passage, parts in long:
        scored = {number: next(scores) for number in parts.above}
        best = sorted(scored, key=lambda number: (-scored[number], number))[:most]
        passage.metadata[EVIDENCE] = parts.kept(best)
