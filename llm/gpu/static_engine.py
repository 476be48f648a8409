"""One answer at a time with fixed shapes: on a GPU each token is a CUDA graph, launched before the last one is read.

What the model computed for a conversation stays in its memory, and the next prompt goes on from where it differs; a
conversation that another one displaces is parked beside it. The numbers are those of `llm.engine` but for rounding:
other shapes sum in another order.
"""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch

from elysia_chat.llm.answer_engine import Ended, Piece, room_for_answer
from elysia_chat.llm.answer_text import AnswerText
from elysia_chat.llm.engine import Engine
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.gpu.key_values import SMALLEST_BOUND, KeyValues, ParkedTexts, bytes_of_a_token, common_beginning
from elysia_chat.llm.gpu.norms import fuse_norms
from elysia_chat.llm.gpu.steps import Steps, steady_positions
from elysia_chat.llm.model_facts import context_limit, end_tokens, tokens_with_fixed_positions
from elysia_chat.llm.sampling import Sampler, Sampling, checked

log = logging.getLogger(__name__)

PARKED_TOKENS = 32768
# Sizes of prompt ends that are captured: a forward that is not takes as long for ten tokens as for a thousand.
BLOCKS = (64, 256)
_CHUNK_TOKENS = {"cpu": 512}
_GPU_CHUNK_TOKENS = 2048
# Of the memory that is free once the model is loaded: for the conversation in work, and for those that are parked.
_SHARE, _PARKED_SHARE = 0.5, 0.2
_LONGEST_WITHOUT_LIMIT = 32768
# Of what is compared with the model's own computation when an engine is made. Rounding in 16 bits leaves 0.999.
_CHECKED_TOKENS, _STRIDE, _ALIKE = 40, 7919, 0.99


class StaticEngine:
    """Writes answers with one model. Not thread-safe.

    Texts that are longer than its memory, or than the length up to which the model's positions are fixed, are left to
    an `Engine`.

    Args:
        model: of transformers, in evaluation mode; `model_facts.is_attention_on_one_device` is true for it.
        tokenizer: its tokenizer.
        context_tokens: longest prompt plus answer; the model's own limit holds as well.
        parked_tokens: of conversations that wait for their next turn.
        blocks: sizes in which the last tokens of a prompt are computed; the rest of the last one is filled up.
        smallest_bound: of the memory that is read for a short text, in tokens.

    Raises:
        RuntimeError: the model does something that a CUDA graph cannot hold.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        context_tokens: int | None = None,
        parked_tokens: int = PARKED_TOKENS,
        blocks: Sequence[int] | None = None,
        smallest_bound: int = SMALLEST_BOUND,
    ) -> None:
        self.parallel = 1
        self.model = model
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        self.context_tokens = context_limit(config, context_tokens)
        self._device = torch.device(model.device)
        on_gpu = self._device.type == "cuda"
        self._blocks = tuple(sorted(blocks if blocks is not None else BLOCKS if on_gpu else ()))
        self._chunk_tokens = _CHUNK_TOKENS.get(self._device.type, _GPU_CHUNK_TOKENS)
        self._runs_ahead = on_gpu
        self._end_tokens = end_tokens(model, tokenizer)
        limits = [self.context_tokens or _LONGEST_WITHOUT_LIMIT, tokens_with_fixed_positions(config)]
        capacity, parked = _sizes(model, min(limit for limit in limits if limit is not None), parked_tokens)
        if on_gpu:
            fuse_norms(model)
        with self._ready():
            self._memory = KeyValues(model, capacity, smallest_bound)
            self._steps = Steps(model, self._memory)
            if on_gpu:
                self._steps.prepare((1, *self._blocks))
        self._held: list[int] = []
        self._parked = ParkedTexts(parked)
        self._longer = Engine(model, tokenizer, context_tokens, prefix_tokens=0)
        if on_gpu:
            self.check()

    def answer(
        self, prompt: Sequence[Sequence[int]], sampling: Sampling, stopped: Stopped = never
    ) -> Iterator[Piece | Ended]:
        """Write an answer; see `AnswerEngine`.

        Raises:
            PromptTooLongError: the prompt fills the context.
        """
        tokens = [token for chunk in prompt for token in chunk]
        room = room_for_answer(len(tokens), sampling.max_new_tokens, self.context_tokens)
        if len(tokens) + room > self._memory.capacity:
            yield from self._longer.answer(prompt, sampling, stopped)
            return
        with self._ready():
            yield from self._write(tokens, sampling, room, stopped)

    def check(self) -> None:
        """Compare a prompt's end and one step with what the model itself computes.

        Raises:
            RuntimeError: the numbers are others: kernels or graphs do not suit this GPU or this model.
        """
        words = self.model.get_input_embeddings().num_embeddings
        tokens = [(number * _STRIDE + 1) % words for number in range(_CHECKED_TOKENS)]
        ids = torch.tensor([tokens], dtype=torch.long, device=self._device)
        with self._ready():
            wanted = self.model(input_ids=ids, use_cache=False).logits[0, -1].float()
            read = self._read(tokens, 0, never)
            found = [] if read is None else [read[0].float().clone()]
            self._hold(tokens[:-1])
            step = self._steps.step(1, len(tokens))
            step.tokens.copy_(ids[:, -1:])
            step()
            found.append(step.logits[0].float())
            alike = min(float(torch.cosine_similarity(logits, wanted, dim=0)) for logits in found)
            self._hold([])
        if not alike > _ALIKE:
            msg = f"fixed shapes compute other numbers here than the model itself (similarity {alike:.3f})"
            raise RuntimeError(msg)

    def close(self) -> None:
        """Forget the conversations; the model goes with its last reference."""
        self._held.clear()
        self._parked.clear()

    def _write(self, tokens: list[int], sampling: Sampling, room: int, stopped: Stopped) -> Iterator[Piece | Ended]:
        known = self._resume(tokens)
        logits = self._read(tokens, known, stopped)
        if logits is None:
            return
        text = AnswerText(self.tokenizer, self._end_tokens, sampling.stop, room)
        chosen = _Chosen(Sampler(sampling, self._device), room, self._device)
        chosen.add(logits)
        while text.finish_reason is None:
            ahead = self._runs_ahead and chosen.number < room
            if ahead:
                # The next token is on its way before this one is looked at, so that the GPU never waits for the text.
                self._next(chosen, len(tokens))
            token = chosen.read(len(text.tokens))
            if ahead:
                self._held.append(token)
            if shown := text.push(token):
                yield Piece(shown)
            if stopped():
                return
            if not ahead and text.finish_reason is None:
                self._next(chosen, len(tokens))
                self._held.append(token)
        if shown := text.flush():
            yield Piece(shown)
        yield Ended(text.finish_reason, len(tokens), known, len(text.tokens))

    @contextmanager
    def _ready(self) -> Iterator[None]:
        on_device = torch.cuda.device(self._device) if self._device.type == "cuda" else nullcontext()
        with torch.inference_mode(), steady_positions(self.model), on_device:
            yield

    def _next(self, chosen: "_Chosen", prompt_tokens: int) -> None:
        """Compute the token that was chosen last, and choose the next."""
        step = self._steps.step(1, prompt_tokens + chosen.number)
        step.tokens.copy_(chosen.last())
        step()
        chosen.add(step.logits)

    def _resume(self, tokens: list[int]) -> int:
        """Let the memory hold as much of a prompt as is known, all but its last token at most; return how much."""
        known = common_beginning(self._held, tokens)
        parked, text = self._parked.longest(tokens)
        if len(self._held) > 2 * known and self._parked.fits(len(self._held)):
            # Another conversation, of which more would be lost than both have in common.
            self._parked.park(self._held, self._memory.copy(len(self._held)))
        if parked > known:
            state = self._parked.take(text, keep=len(text) > 2 * parked)
            self._memory.load(state, parked)
            known = parked
        known = min(known, len(tokens) - 1)
        self._hold(tokens[:known])
        return known

    def _hold(self, tokens: list[int]) -> None:
        self._held = tokens
        self._memory.cut(len(tokens))

    def _read(self, tokens: list[int], known: int, stopped: Stopped) -> torch.Tensor | None:
        """Compute a prompt from the first token that is not known; None where it was stopped."""
        logits = None
        while known < len(tokens):
            if stopped():
                return None
            rows, end = self._next_rows(len(tokens) - known, known)
            here = tokens[known : known + rows]
            logits = self._compute(here, rows, end)
            known += len(here)
            self._hold(tokens[:known])
        return logits

    def _next_rows(self, left: int, known: int) -> tuple[int, int]:
        """Return how many tokens to compute at once, and up to where the memory is used by that."""
        if self._blocks and left <= 2 * self._blocks[-1]:
            rows = next((block for block in self._blocks if block >= left), self._blocks[-1])
            if known + rows <= self._memory.capacity:
                return rows, known + rows
        rows = min(left, self._chunk_tokens)
        return rows, known + rows

    def _compute(self, tokens: list[int], rows: int, end: int) -> torch.Tensor:
        ids = torch.tensor([tokens + [0] * (rows - len(tokens))], dtype=torch.long, device=self._device)
        if rows in self._blocks:
            step = self._steps.step(rows, end)
            step.tokens.copy_(ids)
            step.last.fill_(len(tokens) - 1)
            step()
            return step.logits
        last = torch.full((1,), rows - 1, dtype=torch.long, device=self._device)
        return self._steps.forward(ids, last, self._memory.cache(self._memory.bound(end)))


class _Chosen:
    """The tokens of an answer where they are computed, and on their way to where they are read.

    Args:
        sampler: chooses them.
        room: their greatest number.
        device: where they are chosen.

    Attributes:
        number: of those chosen so far.
    """

    def __init__(self, sampler: Sampler, room: int, device: torch.device) -> None:
        self.number = 0
        self._sampler = sampler
        self._tokens = torch.zeros((1, room), dtype=torch.long, device=device)
        self._events = [torch.cuda.Event() for _ in range(2)] if device.type == "cuda" else []
        self._read = torch.zeros(room, dtype=torch.long, pin_memory=True) if self._events else self._tokens[0]

    def add(self, logits: torch.Tensor) -> None:
        """Choose a token, without waiting for it."""
        token = self._sampler.choose(logits, self._tokens[:, : self.number])
        self._tokens[:, self.number] = token
        if self._events:
            self._read[self.number : self.number + 1].copy_(token, non_blocking=True)
            self._events[self.number % 2].record()
        self.number += 1

    def last(self) -> torch.Tensor:
        """Return the token chosen last, shape (1, 1); one that is none counts as the first of the vocabulary."""
        return self._tokens[:, self.number - 1 : self.number].clamp(min=0)

    def read(self, place: int) -> int:
        """Wait for a token, the last or the one before.

        Raises:
            ModelError: it was chosen among logits that are not numbers.
        """
        if self._events:
            self._events[place % 2].synchronize()
        return checked(int(self._read[place]))


def _sizes(model: Any, longest: int, parked_tokens: int) -> tuple[int, int]:
    """Return the longest text that the memory of a GPU has room for, and how many tokens may be parked."""
    if model.device.type != "cuda":
        return longest, parked_tokens
    free, _ = torch.cuda.mem_get_info(model.device)
    token = bytes_of_a_token(model)
    capacity = min(longest, int(free * _SHARE) // token)
    if capacity < longest:
        log.warning("GPU memory holds %d tokens of a conversation; longer ones, up to %d, are slow.", capacity, longest)
    return capacity, min(parked_tokens, int(free * _PARKED_SHARE) // token)
