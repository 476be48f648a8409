"""Examples as token ids: the prompt as the chat template writes it, and the answer up to its end of turn."""

import json
import os.path
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.llm.chat_prompt import ChatPrompt
from elysia_chat.training.dataset.example import TEXT_KIND, Example
from elysia_chat.training.errors import DataFileError

IGNORED = -100
TEXT_SUFFIXES = (".txt", ".md")
TRAIN_FILE, TEST_FILE, PROMPTS_FILE = "train.jsonl", "test.jsonl", "prompts.jsonl"
"""Names of the files in a dataset's folder."""


@dataclass(frozen=True)
class Encoded:
    """Examples whose prompts begin alike, as one sequence: the common beginning once, then each question and answer.

    Attributes:
        ids: (length,) int32.
        segment: (length,) int32, 0 for the common beginning, j for the j-th example's own part.
        parent: (length,) int32, the segment of the beginning that belongs to a token. A token sees that beginning and
            its own segment alone, so that each example is computed as if it stood by itself.
        position: (length,) int32, as it would be if the example stood by itself.
        target: (length,) int32, the token to predict at each position of an answer, -100 elsewhere.
        examples: how many there are.
    """

    ids: NDArray[np.int32]
    segment: NDArray[np.int32]
    parent: NDArray[np.int32]
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
    columns = [np.array(part, dtype=np.int32) for part in (ids, segment, [0] * len(ids), position, target)]
    return Encoded(columns[0], columns[1], columns[2], columns[3], columns[4], len(parts))


def join(items: Sequence[Encoded], max_tokens: int) -> list[Encoded]:
    """Join sequences, in their order, to as few as possible of at most `max_tokens`; none sees another."""
    rows: list[list[Encoded]] = []
    room = 0
    for item in items:
        if len(item.ids) > room:
            rows.append([])
            room = max_tokens
        rows[-1].append(item)
        room -= len(item.ids)
    return [_joined(row) for row in rows]


def _joined(row: Sequence[Encoded]) -> Encoded:
    offsets = np.cumsum([0, *(int(item.segment.max()) + 1 for item in row[:-1])])
    return Encoded(
        ids=np.concatenate([item.ids for item in row]),
        segment=np.concatenate([item.segment + offset for item, offset in zip(row, offsets, strict=True)]),
        parent=np.concatenate([item.parent + offset for item, offset in zip(row, offsets, strict=True)]),
        position=np.concatenate([item.position for item in row]),
        target=np.concatenate([item.target for item in row]),
        examples=sum(item.examples for item in row),
    )


def read_data(path: Path) -> Iterator[Example]:
    """Read examples from a JSONL file; a text file, or each one in a folder, is one text without a prompt.

    Raises:
        DataFileError: nothing can be read there, or a line is no example; the message names the line.
    """
    texts = [path] if path.suffix.lower() in TEXT_SUFFIXES else []
    if path.is_dir():
        texts = sorted(item for item in path.rglob("*") if item.suffix.lower() in TEXT_SUFFIXES)
        if not texts:
            msg = f"The folder {path} holds neither {TRAIN_FILE} nor text files ({', '.join(TEXT_SUFFIXES)})."
            raise DataFileError(msg)
    if not texts:
        yield from read_examples(path)
    for file in texts:
        try:
            text = file.read_text(encoding="utf-8-sig").strip()
        except (OSError, UnicodeDecodeError) as error:
            msg = f"The data file {file} cannot be read as UTF-8 text: {error}."
            raise DataFileError(msg) from error
        if text:
            yield Example(TEXT_KIND, "", [{"role": "user", "content": ""}], text)


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
        if isinstance(record, dict) and isinstance(record.get("text"), str) and "messages" not in record:
            record = {"kind": TEXT_KIND, "messages": [{"role": "user", "content": ""}], "answer": record["text"]}
        example = Example.from_record(record)
        roles = [message["role"] for message in example.messages]
        texts = [message["content"] for message in example.messages]
        well_formed = roles and roles[-1] == "user" and all(isinstance(text, str) for text in [*texts, example.answer])
    except (ValueError, KeyError, TypeError) as error:
        msg = f"{path.name}, line {number}: expected a JSON object with messages (role, content) and answer, or text."
        raise DataFileError(msg) from error
    if not well_formed or not example.answer.strip():
        msg = (
            f"{path.name}, line {number}: the last message must be the user's, and the answer a text that is not empty."
        )
        raise DataFileError(msg)
    return example


def encode(tokenizer: Any, examples: Iterable[Example], max_tokens: int) -> tuple[list[Encoded], int]:
    """Encode examples with the tokenizer's chat template; neighbours of one group share the beginning of their prompts.

    A text without a prompt (kind "text") is encoded as it stands, between the tokens that begin and end a text; every
    token of it is learned, and what is longer than `max_tokens` is cut.

    Control tokens of the model that stand in the data are taken apart, as in the chat.

    Args:
        tokenizer: of transformers; for all but texts with a chat template.
        examples: to encode.
        max_tokens: examples longer than this are left out; so many tokens a sequence at most.

    Returns:
        The sequences, and how many examples were left out.

    Raises:
        DataFileError: the tokenizer's chat template cannot be used.
    """
    encoded: list[Encoded] = []
    left_out, ending, disarm = 0, "", None
    for block in _blocks(examples, 512):
        texts = [item for group in block for item in group if item.kind == TEXT_KIND]
        encoded += [piece for ids in _ids(tokenizer, [item.answer for item in texts])
                    for piece in _pieces(tokenizer, ids, max_tokens)]  # fmt: skip
        groups = [group for group in block if group[0].kind != TEXT_KIND]
        if groups:
            ending = ending or turn_ending(tokenizer)
            disarm = disarm or ChatPrompt(tokenizer).disarm
            tame = [[_disarmed(disarm, item) for item in group] for group in groups]
            found, without = _encode_groups(tokenizer, tame, ending, max_tokens)
            encoded += found
            left_out += without
    return encoded, left_out


def _disarmed(disarm: Callable[[str], str], example: Example) -> Example:
    """Take the model's control tokens in an example apart, as the chat does: data cannot end a turn."""
    messages = [{**message, "content": disarm(message["content"])} for message in example.messages]
    return replace(example, messages=messages, answer=disarm(example.answer))


def _encode_groups(
    tokenizer: Any, groups: Sequence[Sequence[Example]], ending: str, max_tokens: int
) -> tuple[list[Encoded], int]:
    encoded: list[Encoded] = []
    left_out, start = 0, 0
    commons: list[str] = []
    rests: list[str] = []
    answers: list[str] = []
    for group in groups:
        prompts = [render(tokenizer, item) for item in group]
        common = _common(prompts)
        commons.append(common)
        rests += [prompt[len(common) :] for prompt in prompts]
        answers += [answer_text(ending, item) for item in group]
    common_ids, rest_ids, answer_ids = (_ids(tokenizer, texts) for texts in (commons, rests, answers))
    for common_part, group in zip(common_ids, groups, strict=True):
        pairs = list(zip(rest_ids[start : start + len(group)], answer_ids[start : start + len(group)], strict=True))
        start += len(group)
        fitting = [pair for pair in pairs if len(common_part) + len(pair[0]) + len(pair[1]) <= max_tokens]
        left_out += len(pairs) - len(fitting)
        encoded += _sequences(common_part, fitting, max_tokens)
    return encoded, left_out


def _pieces(tokenizer: Any, text: Sequence[int], max_tokens: int) -> Iterator[Encoded]:
    """Yield a text as sequences of at most `max_tokens`, each predicting the token that follows it."""
    first, last = ([] if token is None else [token] for token in (tokenizer.bos_token_id, tokenizer.eos_token_id))
    ids = np.array([*first, *text, *last], dtype=np.int32)
    for start in range(0, len(ids) - 1, max_tokens):
        piece = ids[start : start + max_tokens]
        following = ids[start + 1 : start + 1 + len(piece)]
        target = np.full(len(piece), IGNORED, dtype=np.int32)
        target[: len(following)] = following
        nothing = np.zeros(len(piece), dtype=np.int32)
        yield Encoded(piece, nothing, nothing, np.arange(len(piece), dtype=np.int32), target, int(start == 0))


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
    return list(tokenizer(texts, add_special_tokens=False)["input_ids"]) if texts else []


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
        DataFileError: there is no template, or it rewrites the prompt once an answer follows.
    """
    if not tokenizer.chat_template:
        msg = "The model's tokenizer has no chat template: its prompts cannot be written. Take its chat version."
        raise DataFileError(msg)
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
