"""Examples as token ids: the prompt as the chat template writes it, and the answer up to its end of turn."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.training.dataset.example import Example
from elysia_chat.training.errors import DataFileError


@dataclass(frozen=True)
class Encoded:
    """One example as tokens.

    Attributes:
        ids: (length,) int32, prompt and answer.
        prompt: number of tokens of the prompt; the loss is on the rest.
    """

    ids: NDArray[np.int32]
    prompt: int


def read_examples(path: Path) -> Iterator[Example]:
    """Read examples from a JSONL file.

    Raises:
        DataFileError: the file cannot be read, or a line is no example; the message names the line.
    """
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield _example(path, number, line)
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The data file {path} cannot be read: {error}."
        raise DataFileError(msg) from error


def _example(path: Path, number: int, line: str) -> Example:
    try:
        record = json.loads(line)
        example = Example.from_record(record)
        roles = [message["role"] for message in example.messages]
        texts = [message["content"] for message in example.messages]
        well_formed = roles and roles[-1] == "user" and all(isinstance(text, str) for text in [*texts, example.answer])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path.name}, line {number}: expected a JSON object with messages (role, content) and answer."
        raise DataFileError(msg) from error
    if not well_formed or not example.answer.strip():
        msg = (
            f"{path.name}, line {number}: the last message must be the user's, and the answer a text that is not empty."
        )
        raise DataFileError(msg)
    return example


def encode(
    tokenizer: Any, examples: Iterable[Example], max_tokens: int, *, block: int = 2000
) -> tuple[list[Encoded], int]:
    """Encode examples with the tokenizer's chat template.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: to encode.
        max_tokens: longer ones are left out.
        block: how many are encoded at once.

    Returns:
        The encoded examples, and how many were left out.
    """
    encoded: list[Encoded] = []
    left_out = 0
    pending: list[Example] = []

    def flush() -> int:
        prompts = [
            tokenizer.apply_chat_template(list(item.messages), tokenize=False, add_generation_prompt=True)
            for item in pending
        ]
        answers = [answer_text(tokenizer, item, prompt) for item, prompt in zip(pending, prompts, strict=True)]
        prompt_ids = tokenizer(prompts, add_special_tokens=False)["input_ids"]
        answer_ids = tokenizer(answers, add_special_tokens=False)["input_ids"]
        dropped = 0
        for first, second in zip(prompt_ids, answer_ids, strict=True):
            if len(first) + len(second) > max_tokens:
                dropped += 1
                continue
            encoded.append(Encoded(np.array([*first, *second], dtype=np.int32), len(first)))
        pending.clear()
        return dropped

    for example in examples:
        pending.append(example)
        if len(pending) == block:
            left_out += flush()
    if pending:
        left_out += flush()
    return encoded, left_out


def answer_text(tokenizer: Any, example: Example, prompt: str) -> str:
    """Return what the template writes after the prompt: the answer and the end of the turn, without white space after it.

    Raises:
        DataFileError: the template rewrites the prompt once an answer follows.
    """
    messages = [*example.messages, {"role": "assistant", "content": example.answer}]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    if not whole.startswith(prompt):
        msg = (
            "The chat template of this model writes a prompt differently once it is answered: it cannot be trained on."
        )
        raise DataFileError(msg)
    return str(whole[len(prompt) :]).rstrip()


def lengths(encoded: Sequence[Encoded]) -> NDArray[np.int64]:
    """Return the number of tokens of each example."""
    return np.array([len(item.ids) for item in encoded], dtype=np.int64)
