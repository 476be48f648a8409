"""How the next tokens of many answers are chosen at once, each in its own way.

transformers' continuous batching knows temperature, top_k and top_p for each request, and sorts the whole vocabulary
for them; it knows neither a penalty of repetitions nor a seed. This one processor does all of it, from the likeliest
tokens alone, and leaves the batching no choice but the chosen token.
"""

import secrets
import threading
from collections import deque
from collections.abc import Sequence
from typing import Any

import torch
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessor

from elysia_chat.llm.sampling import Sampling

CANDIDATES = 128
"""Tokens that are sampled from at most, as if top_k were never higher."""

# The increments and factors of SplitMix64 (Steele, Lea, Flood 2014), as signed numbers.
_GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
_FIRST_FACTOR = 0xBF58476D1CE4E5B9 - (1 << 64)
_SECOND_FACTOR = 0x94D049BB133111EB - (1 << 64)
_NOBODY = 0


class BatchSampler(ContinuousBatchingLogitsProcessor):  # type: ignore[misc]
    """Chooses the tokens of all answers in work.

    An answer has a place of its own, which a request names. A place that was given back is the last to be given again,
    since a step may still be on its way that writes to it.

    Args:
        places: answers in work at most; there are twice as many places.
        rows: most tokens chosen at once.
        vocabulary: number of tokens to choose from.
        device: where the logits are.
    """

    supported_kwargs = {"place": int}  # noqa: RUF012
    ignored_kwargs = ()

    def __init__(self, places: int, rows: int, vocabulary: int, device: torch.device) -> None:
        # The first place is nobody's: that of the rows with which a batch is filled up.
        count = 2 * places + 1
        self._rows = rows
        self._free = deque(range(1, count))
        self._lock = threading.Lock()
        self._temperature, self._top_p, self._penalty = torch.ones((3, count), dtype=torch.float32, device=device)
        self._top_k, self._seed, self._number = torch.zeros((3, count), dtype=torch.long, device=device)
        self._said = torch.zeros((count, vocabulary), dtype=torch.bool, device=device)
        self._broken = torch.zeros(count, dtype=torch.bool, device=device)
        self._yes = torch.ones((), dtype=torch.bool, device=device)
        self._ranks = torch.arange(min(CANDIDATES, vocabulary), device=device)

    def take_place(self, sampling: Sampling) -> int:
        """Return a place for an answer that is chosen in this way."""
        with self._lock:
            place = self._free.popleft()
        top_k = min(sampling.top_k or CANDIDATES, CANDIDATES) if sampling.temperature > 0 else 1
        seed = secrets.randbits(63) if sampling.seed is None else sampling.seed % (1 << 63)
        self._temperature[place] = sampling.temperature or 1.0
        self._top_p[place] = sampling.top_p
        self._penalty[place] = sampling.repetition_penalty
        self._top_k[place] = top_k
        self._seed[place] = seed
        self._number[place] = 0
        self._said[place] = False
        self._broken[place] = False
        if self._said.is_cuda:
            # The batches are computed in a stream of their own, which does not wait for this one.
            torch.cuda.current_stream(self._said.device).synchronize()
        return place

    def give_place_back(self, place: int) -> bool:
        """Take a place back; return whether the logits of its answer were numbers."""
        broken = bool(self._broken[place])
        with self._lock:
            self._free.append(place)
        return not broken

    def fill_defaults(self, int32_tensor: torch.Tensor) -> None:
        """Let a row without an answer be nobody's."""
        int32_tensor.fill_(_NOBODY)

    def prepare_tensor_args(self, requests_with_new_token: Sequence[Any]) -> torch.Tensor:
        """Return the place of each row, shape (rows,), int32; the rows that fill a batch up are nobody's."""
        places = [request.state.logit_processor_kwargs.get("place", _NOBODY) for request in requests_with_new_token]
        return torch.tensor(places + [_NOBODY] * (self._rows - len(places)), dtype=torch.int32)

    def __call__(self, scores: torch.Tensor, tensor_arg: torch.Tensor) -> torch.Tensor:
        """Return scores in which the chosen tokens are the only ones possible.

        Args:
            scores: logits, shape (rows, vocabulary), float32.
            tensor_arg: place of each row, shape (rows or more,), int32.
        """
        places = tensor_arg[: scores.shape[0]].long()
        penalty = self._penalty[places, None]
        punished = torch.where(scores < 0, scores * penalty, scores / penalty)
        scores = torch.where(self._said[places], punished, scores)
        best, candidates = scores.topk(len(self._ranks), dim=-1)
        self._broken.index_put_((places,), self._broken[places] | best[:, 0].isnan())
        chosen = candidates.gather(1, self._ranks_chosen(best, places))
        self._said.index_put_((places, chosen[:, 0]), self._yes)
        self._number.index_put_((places,), self._number[places] + 1)
        return torch.full_like(scores, float("-inf")).scatter_(1, chosen, 0.0)

    def _ranks_chosen(self, best: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
        """Return which of the likeliest tokens, the best first, is taken; shape (rows, 1)."""
        allowed = self._ranks < self._top_k[places, None]
        scaled = (best / self._temperature[places, None]).masked_fill(~allowed, float("-inf"))
        probabilities = scaled.softmax(dim=-1)
        before = probabilities.cumsum(dim=-1) - probabilities
        kept = probabilities.masked_fill(before >= self._top_p[places, None], 0.0)
        ranks: torch.Tensor = (kept / self._noise(places)).argmax(dim=-1, keepdim=True)
        return ranks

    def _noise(self, places: torch.Tensor) -> torch.Tensor:
        """Return exponential noise that depends on seed, number of the token, and rank alone; (rows, candidates)."""
        counter = self._number[places, None] * len(self._ranks) + self._ranks + 1
        bits = _mixed(self._seed[places, None] + counter * _GOLDEN)
        uniform = (bits >> 11 & (1 << 53) - 1).double().add_(0.5).mul_(2.0**-53)
        noise: torch.Tensor = -uniform.log().float().clamp(max=-1e-30)
        return noise


def _mixed(bits: torch.Tensor) -> torch.Tensor:
    """Mix 64 bits, as SplitMix64 does; shifts of signed numbers are masked, so that the sign does not spread."""
    bits = (bits ^ (bits >> 30 & (1 << 34) - 1)) * _FIRST_FACTOR
    bits = (bits ^ (bits >> 27 & (1 << 37) - 1)) * _SECOND_FACTOR
    return bits ^ (bits >> 31 & (1 << 33) - 1)
