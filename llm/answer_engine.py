"""What writes answers in this process: the protocol that chat models are made over, and what it yields."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

from elysia_chat.llm.errors import PromptTooLongError
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.sampling import Sampling

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Piece:
    """Some text of an answer."""

    text: str


@dataclass(frozen=True)
class Ended:
    """The end of an answer, with the numbers of tokens: prompt, of these reused, and answer."""

    finish_reason: FinishReason
    prompt_tokens: int
    reused_tokens: int
    answer_tokens: int


@runtime_checkable
class AnswerEngine(Protocol):
    """Writes answers with one model.

    Attributes:
        tokenizer: of transformers.
        context_tokens: longest prompt plus answer; None: no limit.
        parallel: how many answers may be written at once, each in a thread of its own.
    """

    tokenizer: Any
    context_tokens: int | None
    parallel: int

    def answer(
        self, prompt: Sequence[Sequence[int]], sampling: Sampling, stopped: Stopped = never
    ) -> Iterator[Piece | Ended]:
        """Write an answer; the last item is `Ended`, unless it was stopped.

        Args:
            prompt: token ids, in chunks at whose ends other prompts may differ; all but the last are kept for reuse.
            sampling: how tokens are chosen.
            stopped: asked before every step of the computation.

        Raises:
            PromptTooLongError: the prompt fills the context.
        """
        ...

    def close(self) -> None:
        """Give memory and threads back."""
        ...


def room_for_answer(prompt_tokens: int, max_new_tokens: int, context_tokens: int | None) -> int:
    """Return how many tokens an answer may have.

    Raises:
        PromptTooLongError: the prompt fills the context.
    """
    if context_tokens is None:
        return max_new_tokens
    room = context_tokens - prompt_tokens
    if room < 1:
        msg = (
            f"The prompt has {prompt_tokens} tokens and the context only {context_tokens}: "
            f"shorten the message, or lower retrieval.k or chat.history_tokens."
        )
        raise PromptTooLongError(msg)
    return min(room, max_new_tokens)
