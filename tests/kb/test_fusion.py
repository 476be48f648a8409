import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.kb.fusion import RRF_CONSTANT, convex_fusion, reciprocal_rank_fusion

RANKINGS = st.lists(st.sampled_from("abcdefgh"), unique=True)
SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(0.01, 50))
WEIGHTS = st.floats(0, 1)


def test_rrf_is_the_formula_scaled_to_one():
    scores = reciprocal_rank_fusion(["a", "b"], ["b", "c"], 0.75)
    scale = RRF_CONSTANT + 1
    assert scores["a"] == pytest.approx(0.75)
    assert scores["b"] == pytest.approx(scale * (0.75 / (RRF_CONSTANT + 2) + 0.25 / (RRF_CONSTANT + 1)))
    assert scores["c"] == pytest.approx(scale * 0.25 / (RRF_CONSTANT + 2))


def test_convex_fusion_stretches_cosines_and_scales_bm25():
    scores = convex_fusion({"a": 0.9, "b": 0.8, "c": 0.7}, {"b": 4.0, "d": 1.0}, 0.6)
    assert scores == pytest.approx({"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.1})


@given(dense=RANKINGS, lexical=RANKINGS, weight=WEIGHTS)
def test_rrf_scores_everything_within_0_and_1(dense: list[str], lexical: list[str], weight: float):
    scores = reciprocal_rank_fusion(dense, lexical, weight)
    assert set(scores) == {*dense, *lexical}
    assert all(0 <= score <= 1 + 1e-9 for score in scores.values())


@given(dense=SCORES, lexical=SCORES, weight=WEIGHTS)
def test_convex_scores_everything_within_0_and_1(dense: dict[str, float], lexical: dict[str, float], weight: float):
    scores = convex_fusion(dense, lexical, weight)
    assert set(scores) == {*dense, *lexical}
    assert all(-1e-9 <= score <= 1 + 1e-9 for score in scores.values())


@given(scores=SCORES)
def test_all_the_weight_on_one_side_keeps_its_order(scores: dict[str, float]):
    best = max(scores, key=scores.__getitem__, default=None)
    for fused in (convex_fusion(scores, {}, 1.0), convex_fusion({}, scores, 0.0)):
        assert max(fused, key=fused.__getitem__, default=None) == best


def test_one_candidate_and_none():
    assert convex_fusion({"a": 0.3}, {}, 0.5) == {"a": 0.5}
    assert convex_fusion({}, {}, 0.5) == reciprocal_rank_fusion([], [], 0.5) == {}
