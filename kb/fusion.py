"""Two rankings into one: reciprocal rank fusion, and convex fusion of normalised scores."""

from collections.abc import Mapping, Sequence
from typing import Literal

Fusion = Literal["rrf", "convex"]
RRF_CONSTANT = 60


def reciprocal_rank_fusion(
    dense: Sequence[str], lexical: Sequence[str], dense_weight: float, constant: int = RRF_CONSTANT
) -> dict[str, float]:
    """Fuse two rankings by the ranks alone.

    A passage scores weight / (constant + rank) in each ranking, rank from 1 (Cormack, Clarke and Büttcher 2009).

    Args:
        dense: ids, best first.
        lexical: ids, best first.
        dense_weight: share of the dense ranking, 0..1.
        constant: larger makes the first ranks matter less.

    Returns:
        Score of each id, 0..1, where 1 is first in both rankings.
    """
    scores: dict[str, float] = {}
    for ranking, weight in ((dense, dense_weight), (lexical, 1.0 - dense_weight)):
        for rank, identifier in enumerate(ranking, 1):
            scores[identifier] = scores.get(identifier, 0.0) + weight * (constant + 1) / (constant + rank)
    return scores


def convex_fusion(dense: Mapping[str, float], lexical: Mapping[str, float], dense_weight: float) -> dict[str, float]:
    """Fuse two rankings by their scores, each brought to 0..1 among its candidates.

    BM25 scores are divided by the best one, since 0 has a meaning there; cosines, which have a high floor in most
    models, are stretched between the worst and the best candidate (Bruch, Gai and Ingber 2023).

    Args:
        dense: cosine similarity of each id.
        lexical: BM25 score of each id, > 0.
        dense_weight: share of the dense scores, 0..1.

    Returns:
        Score of each id, 0..1.
    """
    scores: dict[str, float] = {}
    for normalised, weight in ((_stretched(dense), dense_weight), (_over_best(lexical), 1.0 - dense_weight)):
        for identifier, score in normalised.items():
            scores[identifier] = scores.get(identifier, 0.0) + weight * score
    return scores


def _stretched(scores: Mapping[str, float]) -> dict[str, float]:
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {identifier: (score - low) / (high - low) for identifier, score in scores.items()}


def _over_best(scores: Mapping[str, float]) -> dict[str, float]:
    best = max(scores.values(), default=0.0)
    return {identifier: score / best for identifier, score in scores.items()} if best > 0 else {}
