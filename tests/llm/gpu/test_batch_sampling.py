"""Sampling of many rows at once: each by its own settings, and with the probabilities that it should have."""

from types import SimpleNamespace

import torch

from elysia_chat.llm.gpu.batch_sampling import BatchSampler
from elysia_chat.llm.sampling import Sampling

CPU = torch.device("cpu")


def chosen(sampler: BatchSampler, logits: torch.Tensor, places: list[int]) -> list[int]:
    requests = [SimpleNamespace(state=SimpleNamespace(logit_processor_kwargs={"place": place})) for place in places]
    scores = sampler(logits, sampler.prepare_tensor_args(requests))
    assert (scores > float("-inf")).sum(dim=-1).tolist() == [1] * len(logits)
    return scores.argmax(dim=-1).tolist()


def test_tokens_come_as_often_as_they_are_likely():
    sampler = BatchSampler(1, 1, 5, CPU)
    logits = torch.tensor([[2.0, 1.0, 0.5, 0.0, -3.0]])
    place = sampler.take_place(Sampling(temperature=0.8, top_p=0.97, top_k=0, repetition_penalty=1.0, seed=1))
    counts = torch.zeros(5)
    for _ in range(4000):
        counts[chosen(sampler, logits, [place])[0]] += 1
    expected = (logits[0] / 0.8).softmax(dim=-1)
    expected[4] = 0  # beyond the first 97 %
    assert torch.allclose(counts / 4000, expected / expected.sum(), atol=0.03)


def test_every_row_has_its_own_settings():
    sampler = BatchSampler(4, 4, 3, CPU)
    logits = torch.tensor([[1.0, 0.9, -1.0]])
    greedy = sampler.take_place(Sampling(repetition_penalty=1.0))
    punished = sampler.take_place(Sampling(repetition_penalty=1.5))
    narrow = sampler.take_place(Sampling(temperature=3.0, top_k=2, repetition_penalty=1.0, seed=0))
    seen: list[list[int]] = [chosen(sampler, logits.repeat(3, 1), [greedy, punished, narrow]) for _ in range(30)]
    rows = list(zip(*seen, strict=True))
    assert set(rows[0]) == {0}
    assert rows[1][:3] == (0, 1, 0)
    assert set(rows[2]) == {0, 1}


def test_rows_that_fill_a_batch_up_leave_all_answers_alone():
    sampler = BatchSampler(1, 4, 3, CPU)
    place = sampler.take_place(Sampling(temperature=1.0, seed=3))
    logits = torch.tensor([[1.0, 0.9, 0.8]])
    alone = [chosen(sampler, logits, [place])[0] for _ in range(20)]
    again = sampler.take_place(Sampling(temperature=1.0, seed=3))
    assert [chosen(sampler, logits.repeat(4, 1), [again])[0] for _ in range(20)] == alone


def test_a_place_begins_anew_and_is_not_given_again_at_once():
    sampler = BatchSampler(2, 2, 3, CPU)
    logits = torch.tensor([[1.0, 0.9, 0.8]])
    first = sampler.take_place(Sampling(repetition_penalty=2.0))
    assert [chosen(sampler, logits, [first])[0] for _ in range(3)] == [0, 1, 2]
    assert sampler.give_place_back(first)
    taken = [sampler.take_place(Sampling(repetition_penalty=2.0)) for _ in range(4)]
    assert taken.index(first) == 3
    assert [chosen(sampler, logits, [first])[0] for _ in range(3)] == [0, 1, 2]


def test_logits_that_are_no_numbers_are_told_of_the_answer_that_had_them():
    sampler = BatchSampler(2, 2, 3, CPU)
    good, bad = (sampler.take_place(Sampling()) for _ in range(2))
    logits = torch.tensor([[1.0, 0.9, 0.8], [float("nan"), 0.0, 0.0]])
    chosen(sampler, logits, [good, bad])
    assert sampler.give_place_back(good)
    assert not sampler.give_place_back(bad)
