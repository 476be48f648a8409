"""Which engine writes the answers of a model that transformers has loaded."""

import logging
from typing import TYPE_CHECKING, Any

from elysia_chat.llm.engine import PREFIX_TOKENS, Engine
from elysia_chat.llm.errors import ModelError
from elysia_chat.llm.model_facts import is_attention_on_one_device

if TYPE_CHECKING:
    from elysia_chat.llm.answer_engine import AnswerEngine

log = logging.getLogger(__name__)


def choose_engine(
    model: Any,
    tokenizer: Any,
    context_tokens: int | None = None,
    prefix_tokens: int = PREFIX_TOKENS,
    parallel: int = 1,
) -> "AnswerEngine":
    """Return the engine that suits a model where it is.

    On one GPU: captured steps for one answer at a time, or batches for several. On a CPU, on several GPUs, and for
    models whose past is more than keys and values: one answer at a time, step by step.

    Args:
        model: of transformers, in evaluation mode.
        tokenizer: its tokenizer.
        context_tokens: longest prompt plus answer; unset: the model's limit.
        prefix_tokens: tokens of prompt beginnings that are kept, where steps are not captured.
        parallel: answers to write at once, where that is possible.
    """
    if model.device.type == "cuda" and is_attention_on_one_device(model):
        if parallel > 1:
            from elysia_chat.llm.gpu.batching_engine import BatchingEngine

            try:
                return BatchingEngine(model, tokenizer, parallel, context_tokens)
            except (ModelError, RuntimeError, ValueError) as error:
                log.warning("The model cannot be batched, so its answers are written one after the other: %s", error)
        try:
            from elysia_chat.llm.gpu.static_engine import StaticEngine

            return StaticEngine(model, tokenizer, context_tokens)
        except RuntimeError as error:
            log.warning("The model cannot be captured as a CUDA graph, so its answers are slower: %s", error)
    return Engine(model, tokenizer, context_tokens, prefix_tokens)
