"""The evidence in what was found: the sentences that most likely answer the question, for a short prompt."""

import re
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from langchain_core.documents import Document

from elysia_chat.kb.chunk import HEADING_SEPARATOR, Chunk
from elysia_chat.kb.sentences import keep_sentences, sentences, with_context

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
        """Return a sentence after the one before it, as if they were a passage, with the headings above them."""
        above, metadata = self.above[number], self._passage.metadata
        inner = "" if above is None else _HEADING.sub(r"\1", self._texts[above])
        heading = HEADING_SEPARATOR.join(filter(None, [str(metadata.get("heading", "")), inner]))
        before = [self._texts[number - 1]] if number - 1 in self.above else []
        text = "\n".join([*before, self._texts[number]])
        return Chunk.from_stored("", text, {**metadata, "heading": heading}).indexed_text

    def kept(self, numbers: Collection[int]) -> str:
        """Return the passage with these sentences, what they lean on, and the heading lines above them alone."""
        numbers = with_context(self._texts, numbers) & self.above.keys()
        if numbers == self.above.keys():
            return self._passage.page_content
        headings = {above for number in numbers if (above := self.above[number]) is not None}
        return keep_sentences(self._passage.page_content, {*numbers, *headings})


def choose_evidence(
    question: str, passages: Sequence[Document], reranker: "Reranker", most: int, least: float = 0.0
) -> list[Document]:
    """Return the passages that hold one of the best sentences, and set `metadata["evidence"]` of each to these.

    A sentence is scored together with the one before it, under the title and the headings above it, and its worth is
    that score times its passage's. A heading line within a passage stays with what is kept below it, and the
    sentence before a very short one with that. What is left out becomes “…”; the passages themselves stay whole.

    Args:
        question: what was asked.
        passages: found ones with a `score` each; the metadata of those that are returned is changed.
        reranker: scores (question, sentences).
        most: sentences to keep of all passages together, at least 1.
        least: worth of a sentence, from 0 to 1, below which it is no evidence.

    Returns:
        The passages in the order of their best sentences.
    """
    found = [_Parts(passage) for passage in passages]
    spots = [(place, number) for place, parts in enumerate(found) for number in parts.above]
    chosen: dict[int, list[int]] = {}
    if len(spots) > most or least > 0.0:
        scores = reranker.scores(question, [found[place].indexed(number) for place, number in spots])
        worth = {
            spot: score * float(passages[spot[0]].metadata["score"])
            for spot, score in zip(spots, scores, strict=True)
        }  # fmt: skip
        spots = [spot for spot in sorted(worth, key=lambda spot: (-worth[spot], spot))[:most] if worth[spot] >= least]
    for place, number in spots:
        chosen.setdefault(place, []).append(number)
    for place, numbers in chosen.items():
        passages[place].metadata[EVIDENCE] = found[place].kept(numbers)
    return [passages[place] for place in chosen]
