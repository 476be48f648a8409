"""Data in other people's formats, turned into examples: one for each answer in a conversation.

| format | what a file holds |
| --- | --- |
| xtuner | a list of {"conversation": [{"system", "input", "output"}, …]}; one with no input at all is a text |
| openai | JSONL of {"messages": [{"role", "content"}, …]} |
| sharegpt | a list of {"conversations": [{"from": "human" or "gpt" or "system", "value"}, …]} |
| alpaca | a list of {"instruction", "input", "output"} |
| text | plain text; each paragraph is one example without a prompt of its own (incremental pre-training) |
| xlsx | a workbook; the columns with question, answer and system are named |

Each conversation, row or paragraph counts as a document of its own where training and test data are split.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from elysia_chat.chains.language import detect_language
from elysia_chat.training.dataset.example import TEXT_KIND, Example, Message
from elysia_chat.training.errors import DataFileError

FORMATS = ("xtuner", "openai", "sharegpt", "alpaca", "text", "xlsx")
_SHAREGPT_ROLES = {"human": "user", "user": "user", "gpt": "assistant", "assistant": "assistant", "system": "system"}


def import_examples(path: Path, kind: str, columns: Mapping[str, str] | None = None) -> list[Example]:
    """Read a file of another format.

    Args:
        path: the file. JSON lists may also be given as JSONL.
        kind: "xtuner", "openai", "sharegpt", "alpaca", "text" or "xlsx".
        columns: for "xlsx": which columns hold "question", "answer" and (if there is one) "system".

    Raises:
        DataFileError: unknown format, or a line of the wrong shape; the message names the line and what was expected.
    """
    readers: dict[str, Callable[[Path, int, Any], list[Message]]] = {
        "xtuner": _xtuner,
        "openai": _openai,
        "sharegpt": _sharegpt,
        "alpaca": _alpaca,
    }
    if kind == "text":
        return list(_text(path))
    if kind == "xlsx":
        return list(_workbook(path, dict(columns or {})))
    if kind not in readers:
        msg = f"Unknown data format '{kind}'; known: {', '.join(FORMATS)}."
        raise DataFileError(msg)
    examples: list[Example] = []
    for place, (number, entry) in enumerate(_entries(path), 1):
        text = _pretraining_text(entry) if kind == "xtuner" else None
        if text is not None:
            examples.append(_text_example(path, place, text))
        else:
            made = _examples(path, number, readers[kind](path, number, entry))
            examples += [replace(example, documents=(_key(path, place),)) for example in made]
    if not examples:
        msg = f"{path.name} holds no examples."
        raise DataFileError(msg)
    return examples


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"The data file {path.name} cannot be read as UTF-8 text: {error}."
        raise DataFileError(msg) from error


def _entries(path: Path) -> Iterator[tuple[int, Any]]:
    """Yield the entries of a JSON list or of JSON lines, each with the number of the line on which it begins."""
    text = _read(path)
    if text.lstrip().startswith("["):
        yield from _list_entries(path, text)
        return
    # Not splitlines: JSON strings may hold other line ends than this one.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except ValueError as error:
                msg = f"{path.name}, line {number}: no valid JSON ({error})."
                raise DataFileError(msg) from error


def _list_entries(path: Path, text: str) -> Iterator[tuple[int, Any]]:
    decoder = json.JSONDecoder()
    place, counted, line = text.index("[") + 1, 0, 1
    while True:
        place = _after_space(text, place)
        line, counted = line + text.count("\n", counted, place), place
        if text[place : place + 1] == "]":
            return
        try:
            entry, place = decoder.raw_decode(text, place)
        except ValueError as error:
            at = line + text.count("\n", counted, getattr(error, "pos", counted))
            msg = f"{path.name}, line {at}: no valid JSON ({getattr(error, 'msg', error)})."
            raise DataFileError(msg) from error
        yield line, entry
        place = _after_space(text, place)
        if text[place : place + 1] == ",":
            place += 1
        elif text[place : place + 1] != "]":
            at = line + text.count("\n", counted, place)
            msg = f"{path.name}, line {at}: no valid JSON (expected a comma or the end of the list)."
            raise DataFileError(msg)


def _after_space(text: str, place: int) -> int:
    while place < len(text) and text[place].isspace():
        place += 1
    return place


def _fail(path: Path, number: int, expected: str) -> DataFileError:
    return DataFileError(f"{path.name}, line {number}: expected {expected}.")


def _string(path: Path, number: int, entry: Any, key: str, expected: str) -> str:
    found = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(found, str):
        raise _fail(path, number, expected)
    return found


def _list(path: Path, number: int, entry: Any, key: str, expected: str) -> list[Any]:
    found = entry.get(key) if isinstance(entry, dict) else None
    if not isinstance(found, list) or not found:
        raise _fail(path, number, expected)
    return found


def _xtuner(path: Path, number: int, entry: Any) -> list[Message]:
    expected = 'an object with "conversation", a list of {"input", "output"} and a "system" in the first'
    messages: list[Message] = []
    for turn in _list(path, number, entry, "conversation", expected):
        if isinstance(turn, dict) and isinstance(turn.get("system"), str) and not messages and turn["system"].strip():
            messages.append({"role": "system", "content": turn["system"]})
        messages.append({"role": "user", "content": _string(path, number, turn, "input", expected)})
        messages.append({"role": "assistant", "content": _string(path, number, turn, "output", expected)})
    return messages


def _openai(path: Path, number: int, entry: Any) -> list[Message]:
    expected = 'an object with "messages", a list of {"role": system, user or assistant, "content": text}'
    messages = []
    for message in _list(path, number, entry, "messages", expected):
        role, content = (_string(path, number, message, key, expected) for key in ("role", "content"))
        if role not in ("system", "user", "assistant"):
            raise _fail(path, number, expected)
        messages.append({"role": role, "content": content})
    return messages


def _sharegpt(path: Path, number: int, entry: Any) -> list[Message]:
    expected = 'an object with "conversations", a list of {"from": human, gpt or system, "value": text}'
    messages = []
    for message in _list(path, number, entry, "conversations", expected):
        role = _SHAREGPT_ROLES.get(_string(path, number, message, "from", expected))
        if role is None:
            raise _fail(path, number, expected)
        messages.append({"role": role, "content": _string(path, number, message, "value", expected)})
    return messages


def _alpaca(path: Path, number: int, entry: Any) -> list[Message]:
    expected = 'an object with "instruction" and "output" (and "input")'
    asked = _string(path, number, entry, "instruction", expected)
    extra = entry.get("input") or ""
    if not isinstance(extra, str):
        raise _fail(path, number, expected)
    answer = _string(path, number, entry, "output", expected)
    return [{"role": "user", "content": f"{asked}\n{extra}".strip()}, {"role": "assistant", "content": answer}]


def _pretraining_text(entry: Any) -> str | None:
    """Return the text of a conversation in which nobody asks anything: how XTuner writes data for pre-training."""
    turns = entry.get("conversation") if isinstance(entry, dict) else None
    if not isinstance(turns, list) or not turns or not all(isinstance(turn, dict) for turn in turns):
        return None
    if any(turn.get("input") or turn.get("system") for turn in turns):
        return None
    texts = [turn.get("output") for turn in turns]
    return "\n".join(texts) if all(isinstance(text, str) and text.strip() for text in texts) else None


def _text_example(path: Path, number: int, text: str) -> Example:
    prompt = [{"role": "user", "content": ""}]
    return Example(TEXT_KIND, detect_language(text), prompt, text.strip(), documents=(_key(path, number),))


def _key(path: Path, number: int) -> str:
    return f"{path.name}/{number}"


def _text(path: Path) -> Iterator[Example]:
    paragraphs = [part for part in _read(path).replace("\r\n", "\n").split("\n\n") if part.strip()]
    for number, paragraph in enumerate(paragraphs, 1):
        yield _text_example(path, number, paragraph)
    if not paragraphs:
        msg = f"{path.name} holds no text."
        raise DataFileError(msg)


def _workbook(path: Path, columns: dict[str, str]) -> Iterator[Example]:
    import zipfile

    from openpyxl import load_workbook
    from openpyxl.utils.exceptions import InvalidFileException

    unknown = sorted(set(columns) - {"question", "answer", "system"})
    if unknown or not {"question", "answer"} <= set(columns):
        msg = "Name the columns of the workbook: question=… and answer=… (and system=…)."
        raise DataFileError(msg)
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except (OSError, InvalidFileException, zipfile.BadZipFile, KeyError) as error:
        msg = f"{path.name} is no XLSX workbook."
        raise DataFileError(msg) from error
    rows = book.worksheets[0].iter_rows(values_only=True)
    head = [str(cell or "").strip() for cell in next(rows, ())]
    missing = [name for name in columns.values() if name not in head]
    if missing:
        msg = f"{path.name} has no column {', '.join(missing)}; it has: {', '.join(filter(None, head)) or 'none'}."
        raise DataFileError(msg)
    places = {part: head.index(name) for part, name in columns.items()}
    for number, row in enumerate(rows, 2):
        if not any(row):
            continue
        cells = {part: str(row[place] if row[place] is not None else "").strip() for part, place in places.items()}
        messages = [{"role": "system", "content": cells["system"]}] if cells.get("system") else []
        messages += [{"role": "user", "content": cells["question"]}, {"role": "assistant", "content": cells["answer"]}]
        for example in _examples(path, number, messages):
            yield replace(example, documents=(_key(path, number),))
    book.close()


def _examples(path: Path, number: int, messages: list[Message]) -> Iterator[Example]:
    """Yield an example for each answer, with all that was said before it."""
    roles = [message["role"] for message in messages if message["role"] != "system"]
    if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
        raise _fail(path, number, "messages that alternate between user and assistant, the last the assistant's")
    for place, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        if not message["content"].strip() or not messages[place - 1]["content"].strip():
            raise _fail(path, number, "questions and answers that are not empty")
        yield Example("imported", detect_language(message["content"]), messages[:place], message["content"].strip())
