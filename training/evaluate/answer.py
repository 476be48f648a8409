"""Second step: a model answers prepared prompts, many at once, greedily."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from elysia_chat.llm.chat_prompt import ChatPrompt
from elysia_chat.llm.loading import load_model
from elysia_chat.training.adapters import Bits, attach, base_of, check_belongs, load_base
from elysia_chat.training.evaluate.files import Answer, Answers, PreparedItem, PreparedPrompts
from elysia_chat.training.handover_errors import EvaluationError

_MESSAGES: dict[str, type[BaseMessage]] = {"system": SystemMessage, "user": HumanMessage, "assistant": AIMessage}
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class AnswerSettings:
    """How a model is asked.

    Attributes:
        batch_size: prompts answered at once; halved where memory runs out.
        max_new_tokens: longest answer.
        repetition_penalty: of the answer's own tokens, as in the chat.
    """

    batch_size: int = 16
    max_new_tokens: int = 256
    repetition_penalty: float = 1.05


def answer_with(
    prepared: PreparedPrompts,
    model: str | None = None,
    adapter: Path | None = None,
    *,
    label: str | None = None,
    bits: Bits = 16,
    dtype: str = "auto",
    device: str = "auto",
    settings: AnswerSettings = AnswerSettings(),
    progress: Progress = lambda _done, _total: None,
) -> Answers:
    """Load a model, with or without an adapter, and let it answer.

    Args:
        prepared: the prompts.
        model: folder or hub name; unset: the base that the adapter names.
        adapter: PEFT folder, or a checkpoint of a run.
        label: what reports call it; unset: the adapter's or model's folder name.
        bits: 4 quantises the base to NF4 first.
        dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
        device: where to compute.
        settings: how to ask.
        progress: called with (done, total).

    Raises:
        EvaluationError: neither model nor adapter is given, or the memory does not hold one prompt.
        CheckpointError, AdapterError, ModelLoadError: they cannot be loaded or do not go together.
    """
    if adapter is None and model is None:
        msg = "Give a model or an adapter to evaluate."
        raise EvaluationError(msg)
    name = model or base_of(Path(str(adapter)))
    if adapter is not None:
        check_belongs(adapter, name)
    if bits == 4:
        loaded, tokenizer = load_base(name, bits=4, dtype=dtype, device=device)
        loaded = loaded if adapter is None else attach(adapter, loaded)
    else:
        loaded, tokenizer = load_model(name, adapter, dtype, device)
    began = time.monotonic()
    answers = answer_prompts(loaded, tokenizer, prepared.items, settings, progress)
    return Answers(
        label=label or Path(str(adapter or name)).name,
        model=name,
        adapter=None if adapter is None else str(adapter),
        step=None if adapter is None else checkpoint_step(adapter),
        settings={
            "bits": bits,
            "dtype": str(loaded.dtype).removeprefix("torch."),
            "max_new_tokens": settings.max_new_tokens,
            "repetition_penalty": settings.repetition_penalty,
        },
        seconds=round(time.monotonic() - began, 1),
        answers=answers,
    )


def answer_prompts(
    model: Any,
    tokenizer: Any,
    items: Sequence[PreparedItem],
    settings: AnswerSettings = AnswerSettings(),
    progress: Progress = lambda _done, _total: None,
) -> dict[str, Answer]:
    """Answer prompts with a model of transformers.

    Args:
        model: in evaluation mode.
        tokenizer: with a chat template.
        items: the prompts.
        settings: how to ask.
        progress: called with (done, total).

    Returns:
        The answers by the prompts' ids.

    Raises:
        EvaluationError: the memory does not hold one prompt.
    """
    prompt = ChatPrompt(tokenizer)
    encoded = {item.id: prompt.tokens([_MESSAGES[m.role](m.content) for m in item.messages]) for item in items}
    # Longest first: what does not fit is known at once, and rows of a batch have like lengths.
    waiting = sorted(encoded, key=lambda key: -len(encoded[key]))
    answers: dict[str, Answer] = {}
    size = settings.batch_size
    while waiting:
        batch = waiting[:size]
        try:
            written = _generate(model, tokenizer, [encoded[key] for key in batch], settings)
        except torch.OutOfMemoryError as error:
            if size == 1:
                msg = (
                    f"The memory does not hold a prompt of {len(encoded[batch[0]])} tokens: use 4 bits or another GPU."
                )
                raise EvaluationError(msg) from error
            size = max(1, size // 2)
            torch.cuda.empty_cache()
            continue
        answers.update(zip(batch, written, strict=True))
        waiting = waiting[len(batch) :]
        progress(len(answers), len(items))
    return answers


def checkpoint_step(folder: Path) -> int | None:
    """Return the training step that a checkpoint's name ends with (`checkpoint-300`)."""
    number = folder.name.rpartition("-")[2]
    return int(number) if number.isdecimal() and folder.name.startswith("checkpoint") else None


def _generate(model: Any, tokenizer: Any, prompts: Sequence[list[int]], settings: AnswerSettings) -> list[Answer]:
    from transformers import GenerationConfig, LogitsProcessorList, RepetitionPenaltyLogitsProcessor

    ends = _end_tokens(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    width = max(map(len, prompts))
    ids = torch.tensor([[pad] * (width - len(row)) + row for row in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in prompts], device=model.device)
    processors = LogitsProcessorList()
    if settings.repetition_penalty != 1.0:
        processors.append(RepetitionPenaltyLogitsProcessor(settings.repetition_penalty, prompt_ignore_length=width))
    with torch.inference_mode():
        written = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=GenerationConfig(
                do_sample=False, max_new_tokens=settings.max_new_tokens, eos_token_id=ends, pad_token_id=pad
            ),
            logits_processor=processors,
        )[:, width:].tolist()
    return [_answer(tokenizer, row, set(ends)) for row in written]


def _answer(tokenizer: Any, row: list[int], ends: set[int]) -> Answer:
    length = next((place for place, token in enumerate(row) if token in ends), len(row))
    text = tokenizer.decode(row[:length], skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Answer(text=str(text).strip(), tokens=length, truncated=length == len(row))


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    known = model.generation_config.eos_token_id if model.generation_config is not None else None
    ends = [known] if isinstance(known, int) else list(known or ())
    return sorted({*ends, tokenizer.eos_token_id} - {None})
