"""Examples as token ids: the prompt as the chat template writes it, and the answer up to its end of turn."""

import json
import os.path
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.training.dataset.example import Example
from elysia_chat.training.errors import DataFileError

IGNORED = -100


@dataclass(frozen=True)
class Encoded:
    """Examples whose prompts begin alike, as one sequence: the common beginning once, then each question and answer.

    Attributes:
        ids: (length,) int32.
        segment: (length,) int32, 0 for the common beginning, j for the j-th example's own part. A token sees the
            beginning and its own part alone, so that each example is computed as if it stood by itself.
        position: (length,) int32, as it would be if the example stood by itself.
        target: (length,) int32, the token to predict at each position of an answer, -100 elsewhere.
        examples: how many there are.
    """

    ids: NDArray[np.int32]
    segment: NDArray[np.int32]
    position: NDArray[np.int32]
    target: NDArray[np.int32]
    examples: int


def pack(common: Sequence[int], parts: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Encoded:
    """Put examples with a common beginning into one sequence.

    Args:
        common: tokens that all prompts begin with.
        parts: for each example the rest of its prompt (at least one token) and its answer.
    """
    ids, segment, position = list(common), [0] * len(common), list(range(len(common)))
    target = [IGNORED] * len(common)
    for number, (rest, answer) in enumerate(parts, 1):
        own = [*rest, *answer]
        ids += own
        segment += [number] * len(own)
        position += range(len(common), len(common) + len(own))
        target += [IGNORED] * (len(rest) - 1) + list(answer) + [IGNORED]
    columns = [np.array(part, dtype=np.int32) for part in (ids, segment, position, target)]
    return Encoded(columns[0], columns[1], columns[2], columns[3], len(parts))


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


def encode(tokenizer: Any, examples: Iterable[Example], max_tokens: int) -> tuple[list[Encoded], int]:
    """Encode examples with the tokenizer's chat template; neighbours of one group share the beginning of their prompts.

    Args:
        tokenizer: of transformers, with a chat template.
        examples: to encode.
        max_tokens: examples longer than this are left out; so many tokens a sequence at most.

    Returns:
        The sequences, and how many examples were left out.
    """
    encoded: list[Encoded] = []
    left_out, ending = 0, turn_ending(tokenizer)
    for block in _blocks(examples, 512):
        commons: list[str] = []
        rests: list[str] = []
        answers: list[str] = []
        counts: list[int] = []
        for group in block:
            prompts = [render(tokenizer, item) for item in group]
            common = _common(prompts)
            commons.append(common)
            counts.append(len(group))
            rests += [prompt[len(common) :] for prompt in prompts]
            answers += [answer_text(ending, item) for item in group]
        common_ids, rest_ids, answer_ids = (_ids(tokenizer, texts) for texts in (commons, rests, answers))
        start = 0
        for common_part, count in zip(common_ids, counts, strict=True):
            pairs = list(zip(rest_ids[start : start + count], answer_ids[start : start + count], strict=True))
            start += count
            fitting = [pair for pair in pairs if len(common_part) + len(pair[0]) + len(pair[1]) <= max_tokens]
            left_out += len(pairs) - len(fitting)
            encoded += _sequences(common_part, fitting, max_tokens)
    return encoded, left_out


def _blocks(examples: Iterable[Example], groups: int) -> Iterator[list[list[Example]]]:
    """Yield blocks of groups; an example without a group is one of its own."""
    block: list[list[Example]] = []
    for _, found in groupby(enumerate(examples), key=lambda item: item[1].extra.get("group") or item[0]):
        block.append([example for _, example in found])
        if len(block) == groups:
            yield block
            block = []
    if block:
        yield block


def _sequences(common: list[int], pairs: list[tuple[list[int], list[int]]], max_tokens: int) -> list[Encoded]:
    sequences: list[Encoded] = []
    current: list[tuple[list[int], list[int]]] = []
    used = len(common)
    for pair in pairs:
        size = len(pair[0]) + len(pair[1])
        if current and used + size > max_tokens:
            sequences.append(pack(common, current))
            current, used = [], len(common)
        current.append(pair)
        used += size
    return [*sequences, pack(common, current)] if current else sequences


def _ids(tokenizer: Any, texts: list[str]) -> list[list[int]]:
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"])


def _common(prompts: Sequence[str]) -> str:
    """Return what all prompts begin with, up to the last line end, which no token reaches across."""
    shared = os.path.commonprefix(list(prompts))  # noqa: RUF071 (by character is what is wanted)
    if len(prompts) == 1 or any(len(shared) == len(prompt) for prompt in prompts):
        shared = shared.rstrip("\n").rpartition("\n")[0]
    return shared[: shared.rfind("\n") + 1]


def render(tokenizer: Any, example: Example) -> str:
    """Return the prompt as the chat template writes it."""
    return str(tokenizer.apply_chat_template(list(example.messages), tokenize=False, add_generation_prompt=True))


def answer_text(ending: str, example: Example) -> str:
    """Return what follows the prompt: the answer and the end of the turn."""
    return example.answer.strip() + ending


def turn_ending(tokenizer: Any) -> str:
    """Return what the template writes after an answer, without white space at its end.

    Raises:
        DataFileError: the template rewrites the prompt once an answer follows.
    """
    asked = [{"role": "user", "content": "?"}]
    prompt = tokenizer.apply_chat_template(asked, tokenize=False, add_generation_prompt=True)
    whole = tokenizer.apply_chat_template([*asked, {"role": "assistant", "content": "x"}], tokenize=False)
    if not whole.startswith(f"{prompt}x"):
        msg = "The chat template of this model writes a prompt differently once it is answered: it cannot be used."
        raise DataFileError(msg)
    return str(whole[len(prompt) + 1 :]).rstrip()


def lengths(encoded: Sequence[Encoded]) -> NDArray[np.int64]:
    """Return the number of tokens of each example."""
    return np.array([len(item.ids) for item in encoded], dtype=np.int64)
