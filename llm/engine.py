"""The loop that writes an answer: the prompt chunk by chunk, then token after token.

It knows a transformers model and a tokenizer, and nothing of LangChain, threads or queues.
"""

import inspect
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.answer_engine import Ended, Piece, room_for_answer
from elysia_chat.llm.answer_text import AnswerText
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.model_facts import context_limit, end_tokens, keeps_all_positions, tokens_with_fixed_positions
from elysia_chat.llm.prefix_cache import Chunk, PrefixCache, State
from elysia_chat.llm.sampling import Sampler, Sampling

if TYPE_CHECKING:
    import torch
    from transformers import DynamicCache

PREFIX_TOKENS = 8192
# Long enough for products of full speed, short enough to stop within a second on a CPU.
CHUNK_TOKENS = 512


class Engine:
    """Writes answers with one model. Not thread-safe.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        context_tokens: longest prompt plus answer; the model's own limit holds as well.
        prefix_tokens: tokens of prompt beginnings whose keys and values are kept; 0 keeps none.
        chunk_tokens: most tokens of a prompt that are computed at once.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        context_tokens: int | None = None,
        prefix_tokens: int = PREFIX_TOKENS,
        chunk_tokens: int = CHUNK_TOKENS,
    ) -> None:
        self.parallel = 1
        self.model = model
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        self.context_tokens = context_limit(config, context_tokens)
        self.prefixes = PrefixCache(prefix_tokens)
        self._chunk_tokens = chunk_tokens
        self._keeps_all_positions = keeps_all_positions(config)
        self._fixed_positions = tokens_with_fixed_positions(config)
        self._end_tokens = end_tokens(model, tokenizer)
        self._one_logit = "logits_to_keep" in inspect.signature(model.forward).parameters

    def answer(
        self, prompt: Sequence[Sequence[int]], sampling: Sampling, stopped: Stopped = never
    ) -> Iterator[Piece | Ended]:
        """Write an answer; see `AnswerEngine`.

        Raises:
            PromptTooLongError: the prompt fills the context.
        """
        import torch

        length = sum(map(len, prompt))
        room = room_for_answer(length, sampling.max_new_tokens, self.context_tokens)
        with torch.inference_mode():
            yield from self._write(self.chunks(prompt, length + room), sampling, room, stopped)

    def chunks(self, prompt: Sequence[Sequence[int]], tokens: int) -> list[Chunk]:
        """Return the chunks in which a prompt is computed.

        Args:
            prompt: in chunks at whose ends other prompts may differ.
            tokens: of prompt and answer together.
        """
        if not self._keeps_all_positions or (self._fixed_positions is not None and tokens > self._fixed_positions):
            return [tuple(token for chunk in prompt for token in chunk)]
        size = self._chunk_tokens
        return [tuple(chunk[begin : begin + size]) for chunk in prompt for begin in range(0, len(chunk), size)]

    def close(self) -> None:
        """Forget the prompts that are kept; the model goes with its last reference."""
        self.prefixes.clear()

    def _write(self, chunks: list[Chunk], sampling: Sampling, room: int, stopped: Stopped) -> Iterator[Piece | Ended]:
        cache, known = self.start(chunks)
        logits = self.prefill(chunks, known, cache, stopped)
        sampler = Sampler(sampling, self.model.device)
        text = AnswerText(self.tokenizer, self._end_tokens, sampling.stop, room)
        while logits is not None:
            if shown := text.push(sampler.next_token(logits, text.tokens)):
                yield Piece(shown)
            if text.finish_reason is not None:
                break
            logits = None if stopped() else self.forward([text.tokens[-1]], cache)
        if text.finish_reason is None or stopped():
            return
        if shown := text.flush():
            yield Piece(shown)
        prompt_tokens, reused_tokens = sum(map(len, chunks)), sum(map(len, chunks[:known]))
        yield Ended(text.finish_reason, prompt_tokens, reused_tokens, len(text.tokens))

    def start(self, chunks: Sequence[Chunk]) -> tuple["DynamicCache", int]:
        """Return a cache that holds the chunks kept from other prompts, and their number; the last is never kept."""
        import torch
        from transformers import DynamicCache

        if not self._keeps_all_positions:
            return DynamicCache(config=self.model.config), 0
        # Without a config every layer keeps all positions. Masks come from positions, so sliding layers still see
        # their window only; but a beginning can be taken from here exactly, which their own short layers cannot give.
        cache = DynamicCache()
        states = self.prefixes.longest(chunks[:-1])
        for layer, pairs in enumerate(zip(*states, strict=True)):
            keys, values = (torch.cat(parts, dim=-2) for parts in zip(*pairs, strict=True))
            cache.update(keys, values, layer)
        return cache, len(states)

    def prefill(
        self, chunks: Sequence[Chunk], known: int, cache: "DynamicCache", stopped: Stopped = never
    ) -> "torch.Tensor | None":
        """Compute all chunks but the first `known`, which the cache holds.

        Returns:
            The logits after the prompt, shape (1, vocabulary); None where it was stopped.
        """
        for number in range(known, len(chunks) - 1):
            if stopped():
                return None
            self.forward(chunks[number], cache, last=False)
            self.prefixes.put(chunks[: number + 1], _last_tokens(cache, len(chunks[number])))
        self.prefixes.touch(chunks[:-1])
        return None if stopped() else self.forward(chunks[-1], cache)

    def forward(self, tokens: Sequence[int], cache: "DynamicCache", last: bool = True) -> "torch.Tensor":
        """Compute some tokens; return the logits after the last, shape (1, vocabulary), where they are wanted."""
        import torch

        ids = torch.tensor([list(tokens)], dtype=torch.long, device=self.model.device)
        options: dict[str, Any] = {"past_key_values": cache, "use_cache": True}
        if self._one_logit:
            # The head is the largest matrix of a small model: no row of it where no token is chosen. An index and not a
            # number of tokens, since that would make a slice, for whose strides torch copies the whole head each time
            # where the weights need no gradient, as after the merge of an adapter.
            wanted = [len(tokens) - 1] if last else []
            options["logits_to_keep"] = torch.tensor(wanted, dtype=torch.long, device=ids.device)
        logits: torch.Tensor = self.model(input_ids=ids, **options).logits
        return logits[:, -1] if last else logits[:, 0:0]


def _last_tokens(cache: "DynamicCache", number: int) -> State:
    return [(layer.keys[..., -number:, :].clone(), layer.values[..., -number:, :].clone()) for layer in cache.layers]
