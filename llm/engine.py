"""The loop that writes an answer: prompt in blocks, then token after token.

It knows a transformers model and a tokenizer, and nothing of LangChain, threads or queues.
"""

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.llm.detokenizer import IncrementalDetokenizer
from elysia_chat.llm.errors import PromptTooLongError
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.prefix_cache import Block, PrefixCache
from elysia_chat.llm.sampling import Sampler, Sampling
from elysia_chat.llm.stop_strings import StopStrings

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

BLOCK_TOKENS = 128
PREFIX_TOKENS = 8192


@dataclass(frozen=True)
class Piece:
    """Some text of an answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The end of an answer, with the numbers of tokens: prompt, of these reused, and answer."""

    finish_reason: Literal["stop", "length"]
    prompt_tokens: int
    reused_tokens: int
    answer_tokens: int


class Engine:
    """Writes answers with one model. Not thread-safe.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        context_tokens: longest prompt plus answer; the model's own limit holds as well.
        prefix_tokens: tokens of prompt beginnings whose keys and values are kept; 0 keeps none.
        block_tokens: tokens of a prompt that are computed at once.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        context_tokens: int | None = None,
        prefix_tokens: int = PREFIX_TOKENS,
        block_tokens: int = BLOCK_TOKENS,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        limits = [context_tokens, getattr(config, "max_position_embeddings", None)]
        self.context_tokens: int | None = min((limit for limit in limits if limit is not None), default=None)
        self.prefixes = PrefixCache(block_tokens, prefix_tokens)
        self._keeps_all_positions = _keeps_all_positions(config)
        self._fixed_positions = _tokens_with_fixed_positions(config)
        self._end_tokens = _end_tokens(model, tokenizer)
        self._one_logit = "logits_to_keep" in inspect.signature(model.forward).parameters

    def answer(self, prompt: Sequence[int], sampling: Sampling, stopped: Stopped = never) -> Iterator[Piece | Ended]:
        """Write an answer; the last item is `Ended`, unless it was stopped.

        Args:
            prompt: token ids.
            sampling: how tokens are chosen.
            stopped: asked before every step of the computation.

        Raises:
            PromptTooLongError: the prompt fills the context.
        """
        import torch

        room = self._room(len(prompt), sampling.max_new_tokens)
        with torch.inference_mode():
            yield from self._write(list(prompt), sampling, room, stopped)

    def check(self, prompt_tokens: int) -> None:
        """Raise PromptTooLongError where a prompt of this many tokens leaves no room for an answer."""
        self._room(prompt_tokens, 1)

    def _room(self, prompt_tokens: int, max_new_tokens: int) -> int:
        if self.context_tokens is None:
            return max_new_tokens
        room = self.context_tokens - prompt_tokens
        if room < 1:
            msg = (
                f"The prompt has {prompt_tokens} tokens and the context only {self.context_tokens}: "
                f"shorten the message, or lower retrieval.k or chat.history_tokens."
            )
            raise PromptTooLongError(msg)
        return min(room, max_new_tokens)

    def _write(self, prompt: list[int], sampling: Sampling, room: int, stopped: Stopped) -> Iterator[Piece | Ended]:
        in_blocks = self._keeps_all_positions and self._positions_are_fixed(len(prompt) + room)
        cache, reused = self._start(prompt if in_blocks else [])
        size = self.prefixes.block_tokens if in_blocks else len(prompt)
        logits = self._prefill(prompt, reused, size, cache, stopped)
        sampler = Sampler(sampling, self.model.device)
        stops = StopStrings(sampling.stop)
        text = IncrementalDetokenizer(self._decode)
        answer: list[int] = []
        finish_reason: Literal["stop", "length"] = "length"
        while logits is not None:
            token = sampler.next_token(logits, answer)
            answer.append(token)
            if token in self._end_tokens:
                finish_reason = "stop"
                break
            if shown := stops.push(text.push(token)):
                yield Piece(shown)
            if stops.met:
                finish_reason = "stop"
                break
            if len(answer) == room:
                break
            logits = None if stopped() else self._forward([token], cache)
        if stopped():
            return
        if shown := stops.flush():
            yield Piece(shown)
        yield Ended(finish_reason, len(prompt), reused, len(answer))

    def _start(self, prompt: Sequence[int]) -> tuple["DynamicCache", int]:
        """Return a cache that holds the kept beginning of the prompt, and the number of its tokens."""
        import torch
        from transformers import DynamicCache

        if not self._keeps_all_positions:
            return DynamicCache(config=self.model.config), 0
        # Without a config every layer keeps all positions. Masks come from positions, so sliding layers still see
        # their window only; but a beginning can be taken from here exactly, which their own short layers cannot give.
        cache = DynamicCache()
        blocks = self.prefixes.longest(prompt)
        for layer, pairs in enumerate(zip(*blocks, strict=True)):
            keys, values = (torch.cat(parts, dim=-2) for parts in zip(*pairs, strict=True))
            cache.update(keys, values, layer)
        return cache, len(blocks) * self.prefixes.block_tokens

    def _prefill(
        self, prompt: list[int], start: int, size: int, cache: "DynamicCache", stopped: Stopped
    ) -> "torch.Tensor | None":
        """Compute the prompt from `start` on, `size` tokens at once; None where it was stopped."""
        logits = None
        for begin in range(start, len(prompt), size):
            if stopped():
                return None
            end = min(begin + size, len(prompt))
            logits = self._forward(prompt[begin:end], cache, last=end == len(prompt))
            if end - begin == self.prefixes.block_tokens == size:
                self.prefixes.put(prompt[:end], _block(cache, begin, end))
        self.prefixes.touch(prompt)
        return logits

    def _forward(self, tokens: Sequence[int], cache: "DynamicCache", last: bool = True) -> "torch.Tensor":
        """Compute some tokens; return the logits after the last, shape (1, vocabulary), where they are wanted."""
        import torch

        ids = torch.tensor([list(tokens)], dtype=torch.long, device=self.model.device)
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if self._one_logit:
            # The head is the largest matrix of a small model: no row of it where no token is chosen.
            options["logits_to_keep"] = 1 if last else torch.empty(0, dtype=torch.long, device=ids.device)
        logits: torch.Tensor = self.model(input_ids=ids, **options).logits
        return logits[:, -1] if last else logits[:, 0:0]

    def _positions_are_fixed(self, tokens: int) -> bool:
        return self._fixed_positions is None or tokens <= self._fixed_positions

    def _decode(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def _block(cache: "DynamicCache", begin: int, end: int) -> Block:
    return [(layer.keys[..., begin:end, :].clone(), layer.values[..., begin:end, :].clone()) for layer in cache.layers]


def _keeps_all_positions(config: Any) -> bool:
    """Tell whether all layers are attention whose past can be kept whole: no recurrent or shared states."""
    from transformers import DynamicCache
    from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers)


def _tokens_with_fixed_positions(config: Any) -> int | None:
    """Return up to which length keys depend on the tokens before them alone; None: always.

    Dynamic and long RoPE turn earlier positions differently once the text is longer than the trained length.
    """
    parameters = getattr(config, "rope_parameters", None) or {}
    kinds = [parameters, *(value for value in parameters.values() if isinstance(value, dict))]
    changing = [kind for kind in kinds if kind.get("rope_type") in ("dynamic", "longrope")]
    if not changing:
        return None
    return min(int(kind.get("original_max_position_embeddings") or config.max_position_embeddings) for kind in changing)


def _end_tokens(model: Any, tokenizer: Any) -> frozenset[int]:
    ends = model.generation_config.eos_token_id if model.generation_config is not None else None
    if ends is None:
        ends = model.config.get_text_config().eos_token_id
    found = {ends} if isinstance(ends, int) else set(ends or ())
    return frozenset(found | {tokenizer.eos_token_id} - {None})
