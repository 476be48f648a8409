"""Finding passages: dense and lexical search fused, then optionally reranked, made diverse, and joined."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field

from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.evidence import choose_evidence
from elysia_chat.kb.fusion import Fusion, convex_fusion, reciprocal_rank_fusion
from elysia_chat.kb.passages import diverse, join_neighbours
from elysia_chat.kb.store import KnowledgeBase

if TYPE_CHECKING:
    from elysia_chat.configs.settings import RetrievalSettings
    from elysia_chat.kb.rerank import Reranker

MAX_QUERY_CHARS = 2000


class HybridRetriever(BaseRetriever):
    """Finds the passages of a knowledge base for a question.

    Each result is a stored passage with its metadata and: `score` (0..1; comparable within one search only), `id`,
    `dense_rank` and `lexical_rank` (from 1; None where that search did not offer it). With a reranker and `sentences`
    also `evidence`, the part of the passage for the prompt.

    Attributes:
        knowledge_base: where to search.
        k: how many passages to return; `invoke(query, k=...)` overrides it.
        candidates: how many passages each search offers to the fusion.
        mode: "hybrid", "dense" or "lexical".
        fusion: "convex" (of scores) or "rrf" (of ranks).
        dense_weight: share of the dense search in the fusion, 0..1.
        reranker: scores the candidates anew, and the sentences of the results; None leaves the fusion's order.
        rerank: how many of the candidates the reranker reads, or `k` where that is more: two of three by the fusion,
            the others by the dense search alone, which finds passages in another language than the question's.
        min_score: passages that the reranker scores lower are left out, and sentences that are worth less; None keeps
            all.
        sentences: how many sentences of all results together are the evidence; results without any are left out, and
            None leaves passages whole.
        mmr: lambda of maximal marginal relevance, 1 is relevance alone; None is off.
        neighbours: join each passage with those before and after it in its document.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    knowledge_base: KnowledgeBase
    k: int = Field(4, ge=1)
    candidates: int = Field(20, ge=1)
    mode: Literal["hybrid", "dense", "lexical"] = "hybrid"
    fusion: Fusion = "convex"
    dense_weight: float = Field(0.7, ge=0.0, le=1.0)
    reranker: Any = None
    rerank: int = Field(8, ge=1)
    min_score: float | None = Field(None, ge=0.0, le=1.0)
    sentences: int | None = Field(None, ge=1)
    mmr: float | None = Field(None, ge=0.0, le=1.0)
    neighbours: bool = False

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, k: int | None = None
    ) -> list[Document]:
        wanted = self.k if k is None else k
        query = query.strip()[:MAX_QUERY_CHARS]
        if not query or wanted < 1:
            return []
        found = self._candidates(query, max(wanted, self.candidates))
        if self.reranker is not None and found:
            found = self._reranked(query, found, max(wanted, self.rerank))
        if self.mmr is not None:
            found = diverse(found, self.knowledge_base, wanted, self.mmr)
        found = found[:wanted]
        if self.neighbours:
            found = join_neighbours(found, self.knowledge_base)
        if self.reranker is not None and self.sentences is not None:
            found = choose_evidence(query, found, self.reranker, self.sentences, self.min_score or 0.0)
        return found

    def _candidates(self, query: str, limit: int) -> list[Document]:
        """Return the fused candidates, best first."""
        self.knowledge_base.check_embedder()
        dense = self.knowledge_base.nearest(query, limit) if self.mode != "lexical" else []
        lexical = self.knowledge_base.matching(query, limit) if self.mode != "dense" else []
        scores = self._fused(dense, lexical)
        dense_ranks, lexical_ranks = _ranks(dense), _ranks(lexical)
        documents = {str(document.id): document for document, _ in (*lexical, *dense)}
        order = sorted(
            scores, key=lambda i: (-scores[i], dense_ranks.get(i, limit + 1), lexical_ranks.get(i, limit + 1), i)
        )
        return [
            Document(
                id=identifier,
                page_content=documents[identifier].page_content,
                metadata={
                    **documents[identifier].metadata,
                    "id": identifier,
                    "score": scores[identifier],
                    "dense_rank": dense_ranks.get(identifier),
                    "lexical_rank": lexical_ranks.get(identifier),
                },
            )
            for identifier in order
        ]

    def _fused(
        self, dense: Sequence[tuple[Document, float]], lexical: Sequence[tuple[Document, float]]
    ) -> dict[str, float]:
        dense_scores = {str(document.id): score for document, score in dense}
        lexical_scores = {str(document.id): score for document, score in lexical}
        if self.mode == "dense":
            return {identifier: min(1.0, max(0.0, score)) for identifier, score in dense_scores.items()}
        weight = 0.0 if self.mode == "lexical" else self.dense_weight
        if self.fusion == "rrf" and self.mode == "hybrid":
            return reciprocal_rank_fusion(list(dense_scores), list(lexical_scores), weight)
        return convex_fusion(dense_scores, lexical_scores, weight)

    def _reranked(self, query: str, found: list[Document], count: int) -> list[Document]:
        """Return what the reranker has read and not left out, best first."""
        read = _to_read(found, count)
        texts = [Chunk.from_stored(str(item.id), item.page_content, item.metadata).indexed_text for item in read]
        for document, score in zip(read, self.reranker.scores(query, texts), strict=True):
            document.metadata["score"] = score
        kept = [item for item in read if self.min_score is None or item.metadata["score"] >= self.min_score]
        return sorted(kept, key=lambda document: -document.metadata["score"])


def build_retriever(
    settings: "RetrievalSettings", knowledge_base: KnowledgeBase, reranker: "Reranker | None" = None
) -> HybridRetriever:
    """Return the retriever that the settings describe.

    Args:
        settings: how passages are found.
        knowledge_base: where to search.
        reranker: the one that the settings name, where it is loaded already.

    Raises:
        RerankerError: the reranker cannot be loaded.
    """
    if reranker is None and settings.reranker is not None:
        from elysia_chat.configs.settings import EmbeddingSettings
        from elysia_chat.kb.rerank import build_reranker

        reranker = build_reranker(settings.reranker, EmbeddingSettings())
    return HybridRetriever(
        knowledge_base=knowledge_base,
        k=settings.k,
        candidates=settings.candidates,
        mode=settings.mode,
        fusion=settings.fusion,
        dense_weight=settings.dense_weight,
        reranker=reranker,
        rerank=settings.rerank,
        min_score=settings.min_score,
        sentences=settings.sentences,
        mmr=settings.mmr,
        neighbours=settings.neighbours,
    )


def _to_read(found: list[Document], count: int) -> list[Document]:
    """Choose what the reranker reads from the fused candidates: most of them the best, the rest the nearest."""
    best = found[: -(-count * 2 // 3)]
    rest = found[len(best) :]
    rest.sort(key=lambda document: document.metadata["dense_rank"] or len(found) + 1)
    return [*best, *rest[: count - len(best)]]


def _ranks(found: Sequence[tuple[Document, float]]) -> dict[str, int]:
    return {str(document.id): rank for rank, (document, _) in enumerate(found, 1)}
