"""How the next token is chosen."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from elysia_chat.llm.errors import ModelError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Sampling:
    """What decides about the next token, and when to stop.

    Attributes:
        max_new_tokens: longest answer.
        temperature: 0 takes the likeliest token always.
        top_p: sample from the likeliest tokens that together have this probability.
        top_k: sample from this many likeliest tokens; 0 is off.
        repetition_penalty: of the tokens that the answer has already; the prompt's are not punished, since an answer
            has to be able to repeat a name from a passage.
        seed: makes the answer repeatable; the global random state is not touched either way.
        stop: strings that end the answer; they are not shown.
    """

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 0.95
    top_k: int = 50
    repetition_penalty: float = 1.05
    seed: int | None = None
    stop: tuple[str, ...] = ()


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: how.
        device: where the logits are.
    """

    def __init__(self, sampling: Sampling, device: "torch.device") -> None:
        import torch
        from transformers import LogitsProcessorList, RepetitionPenaltyLogitsProcessor, TopPLogitsWarper

        self._sampling = sampling
        self._penalty, self._nucleus = LogitsProcessorList(), LogitsProcessorList()
        if sampling.repetition_penalty != 1.0:
            self._penalty.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
        if sampling.top_p < 1.0:
            self._nucleus.append(TopPLogitsWarper(sampling.top_p))
        self._generator = torch.Generator(device)
        if sampling.seed is None:
            self._generator.seed()
        else:
            self._generator.manual_seed(sampling.seed)

    def next_token(self, logits: "torch.Tensor", answer: Sequence[int]) -> int:
        """Return the next token.

        Args:
            logits: of the next token, shape (1, vocabulary), any floating dtype.
            answer: the tokens chosen so far.

        Raises:
            ModelError: the logits are not numbers.
        """
        import torch

        so_far = torch.tensor([list(answer)], dtype=torch.long, device=logits.device)
        return checked(int(self.choose(logits, so_far)))

    def choose(self, logits: "torch.Tensor", so_far: "torch.Tensor") -> "torch.Tensor":
        """Return the next token without waiting for the device; -1 where the logits are not numbers.

        Args:
            logits: of the next token, shape (1, vocabulary), any floating dtype.
            so_far: the tokens chosen so far, shape (1, tokens).

        Returns:
            Shape (1,).
        """
        import torch

        scores = self._penalty(so_far, logits.float())
        if self._sampling.temperature == 0:
            return torch.where(logits.isnan().any(), -1, scores.argmax(dim=-1))
        scores = scores / self._sampling.temperature
        candidates = None
        if 0 < self._sampling.top_k < scores.shape[-1]:
            # Before top_p, which sorts what it is given: a quarter of a small model's time with all 262,144 words.
            scores, candidates = scores.topk(self._sampling.top_k, dim=-1)
        probabilities = self._nucleus(so_far, scores).softmax(dim=-1)
        # The way in which torch.multinomial draws one sample, less its check, which waits for the device.
        noise = torch.empty_like(probabilities).exponential_(generator=self._generator)
        chosen = (probabilities / noise).argmax(dim=-1, keepdim=True)
        token = chosen if candidates is None else candidates.gather(-1, chosen)
        return torch.where(logits.isnan().any(), -1, token[:, 0])


def checked(token: int) -> int:
    """Return a token that was chosen.

    Raises:
        ModelError: it was chosen among logits that are not numbers.
    """
    if token < 0:
        msg = "The model computes no numbers (NaN): its weights are damaged, or model.dtype=float32 is needed."
        raise ModelError(msg)
    return token
