"""The data of `train run` and of others in the forms that XTuner reads, checked and with control tokens taken apart.

| format | what is read | what XTuner gets |
| --- | --- | --- |
| auto | what `train run` takes: a dataset's folder, its JSONL, texts | conversations, or texts for pre-training |
| conversation | a list of {"conversation": [{"system", "input", "output"}, …]} | the same |
| openai | lines of {"messages": [{"role", "content"}, …]} | the same, by openai_map_fn |
| alpaca | a list of {"instruction", "input", "output"} | the same, by alpaca_map_fn |
| pretrain | texts, or a list of {"text"} | {"text"}, by pretrain_map_fn |
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elysia_chat.training.dataset.example import TEXT_KIND, Example
from elysia_chat.training.dataset.imports import import_examples
from elysia_chat.training.errors import DataFileError
from elysia_chat.training.tokens import TRAIN_FILE, read_data

Format = Literal["auto", "conversation", "openai", "alpaca", "pretrain"]
MAP_FUNCTIONS = {"openai": "openai_map_fn", "alpaca": "alpaca_map_fn", "pretrain": "pretrain_map_fn"}
"""XTuner's functions for a format; conversations need none."""

_IMPORTED = {"conversation": "xtuner", "openai": "openai", "alpaca": "alpaca"}
Record = dict[str, Any]


@dataclass(frozen=True)
class WrittenData:
    """What was written.

    Attributes:
        format: of the file: "conversation", "openai", "alpaca" or "pretrain".
        records: how many.
        left_out: examples longer than `max_tokens`.
        tokens: in all, those of the chat template estimated.
    """

    format: str
    records: int
    left_out: int
    tokens: int


def write_data(
    source: Path, target: Path, form: Format, *, tokenizer: Any, disarm: Callable[[str], str], max_tokens: int
) -> WrittenData:
    """Write the file that a config names.

    Args:
        source: the data.
        target: JSONL file to write.
        form: of the data.
        tokenizer: of transformers; it counts, and cuts texts for pre-training.
        disarm: takes the model's control tokens in a text apart.
        max_tokens: longer examples are left out and counted, since XTuner would cut their answers off; longer texts
            are cut in pieces.

    Raises:
        DataFileError: the data has the wrong shape; the message names the line.
    """
    kind, records = _records(source, form)
    if kind == "pretrain":
        records = _pieces(records, tokenizer, max_tokens)
    around = _around(tokenizer)
    written, left_out, tokens = 0, 0, 0
    with target.open("w", encoding="utf-8") as file:
        for record in records:
            tame = _disarmed(record, disarm)
            length = _length(tokenizer, tame) + around * len(tame.get("conversation") or tame.get("messages") or [0])
            if length > max_tokens and kind != "pretrain":
                left_out += 1
                continue
            file.write(json.dumps(tame, ensure_ascii=False) + "\n")
            written += 1
            tokens += length
    if not written:
        msg = f"The data in {source} has no example of at most {max_tokens} tokens."
        raise DataFileError(msg)
    return WrittenData(kind, written, left_out, tokens)


def _records(source: Path, form: Format) -> tuple[str, Iterable[Record]]:
    if form == "auto":
        file = source / TRAIN_FILE if (source / TRAIN_FILE).is_file() else source
        examples = list(read_data(file))
        texts = {example.kind == TEXT_KIND for example in examples}
        if len(texts) > 1:
            msg = f"{source} holds texts and conversations: XTuner takes one kind at a time."
            raise DataFileError(msg)
        if texts == {True}:
            return "pretrain", ({"text": example.answer} for example in examples)
        return "conversation", map(_conversation, examples)
    if form == "pretrain":
        return form, _texts(source)
    # Checked line by line first, so that a mistake is named before anything is computed.
    examples = import_examples(source, _IMPORTED[form])
    if form == "conversation" and all(example.kind == TEXT_KIND for example in examples):
        return "pretrain", ({"text": example.answer} for example in examples)
    return form, (_plain(record, form) for record in _entries(source))


def _conversation(example: Example) -> Record:
    """Return an example as a conversation whose last answer alone is learned."""
    messages = [*example.messages, {"role": "assistant", "content": example.answer}]
    system = ""
    if messages[0]["role"] == "system":
        system, messages = messages[0]["content"], messages[1:]
    roles = [message["role"] for message in messages]
    if roles != ["user", "assistant"] * (len(roles) // 2):
        msg = f"An example's messages must alternate between user and assistant for XTuner; got {', '.join(roles)}."
        raise DataFileError(msg)
    pairs = list(zip(messages[::2], messages[1::2], strict=True))
    turns = [
        {
            "system": system if number == 0 else "",
            "input": asked["content"],
            "output": answer["content"].strip(),
            "output_with_loss": number == len(pairs) - 1,
        }
        for number, (asked, answer) in enumerate(pairs)
    ]
    return {"conversation": turns}


def _texts(source: Path) -> Iterator[Record]:
    """Yield the texts of text files, of a dataset, or of a JSON list or lines of {"text"}."""
    if source.suffix not in (".json", ".jsonl"):
        yield from ({"text": example.answer} for example in read_data(source) if example.kind == TEXT_KIND)
        return
    for number, entry in enumerate(_entries(source), 1):
        text = entry.get("text") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not text.strip():
            msg = f'{source.name}, entry {number}: expected an object with "text", a text that is not empty.'
            raise DataFileError(msg)
        yield {"text": text}


def _entries(source: Path) -> list[Any]:
    try:
        text = source.read_text(encoding="utf-8-sig")
        if text.lstrip().startswith("["):
            return list(json.loads(text))
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except (OSError, ValueError) as error:
        msg = f"The data file {source.name} cannot be read as JSON: {error}."
        raise DataFileError(msg) from error


def _plain(record: Record, form: str) -> Record:
    """Return an entry with the keys that XTuner's functions ask for, and no others: every line needs the same."""
    if form == "alpaca":
        return {
            "instruction": record["instruction"],
            "input": record.get("input") or "",
            "output": record["output"],
        }
    if form == "openai":
        keys = ("role", "content")
        return {"messages": [{key: message[key] for key in keys} for message in record["messages"]]}
    return {
        "conversation": [
            {
                "system": turn.get("system") or "",
                "input": turn["input"],
                "output": turn["output"],
                "output_with_loss": bool(turn.get("output_with_loss", True)),
            }
            for turn in record["conversation"]
        ]
    }


def _pieces(records: Iterable[Record], tokenizer: Any, max_tokens: int) -> Iterator[Record]:
    """Cut texts into pieces of less than `max_tokens`, so that XTuner cuts nothing off."""
    for record in records:
        text = record["text"]
        places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        step = max(1, max_tokens - 1)
        starts = [places[number][0] for number in range(0, len(places), step)] or [0]
        for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
            if text[start:end].strip():
                yield {"text": text[start:end].strip()}


def _disarmed(value: Any, disarm: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return disarm(value)
    if isinstance(value, dict):
        return {key: inner if key == "role" else _disarmed(inner, disarm) for key, inner in value.items()}
    return [_disarmed(inner, disarm) for inner in value] if isinstance(value, list) else value


def _around(tokenizer: Any) -> int:
    """Return about how many tokens InternLM2's template puts around a question and its answer."""
    turn = "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n<|im_end|>\n"
    return len(tokenizer(turn, add_special_tokens=False)["input_ids"]) + 1


def _length(tokenizer: Any, record: Record) -> int:
    return sum(map(len, tokenizer(list(_strings(record)), add_special_tokens=False)["input_ids"]))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            if key != "role":
                yield from _strings(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner)
