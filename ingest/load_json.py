"""JSON and JSON Lines as lines that can be read and found."""

import json
from collections.abc import Iterator
from typing import Any

from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.encodings import decode
from elysia_chat.ingest.errors import BrokenFileError, as_broken


def load_json(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read JSON: `key: value` lines, inner keys as `outer / inner: value`, a list of plain values on one line.

    A list of records becomes one paragraph for each. In an object, each key that holds more than a plain value
    becomes a heading.

    Raises:
        DocumentError: see `loaders.load`.
    """
    with as_broken("JSON", ValueError, RecursionError):
        builder = DocumentBuilder(limits)
        _write(json.loads(decode(data)), builder)
        return builder.build(name, title_heading=False)


def load_jsonl(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read JSON Lines, one paragraph for each record.

    Raises:
        BrokenFileError: a line is not JSON; the message names it.
        DocumentError: see `loaders.load`.
    """
    builder = DocumentBuilder(limits)
    with as_broken("JSON Lines", RecursionError):
        for number, line in enumerate(decode(data).split("\n"), start=1):
            if line.strip():
                builder.paragraph("\n".join(_lines(_parse_line(line, number))))
    return builder.build(name)


def _parse_line(line: str, number: int) -> Any:
    try:
        return json.loads(line)
    except ValueError as error:
        msg = f"line {number} is not JSON ({str(error)[:100]})"
        raise BrokenFileError(msg) from error


def _write(value: Any, builder: DocumentBuilder) -> None:
    if isinstance(value, list) and not _is_plain(value):
        for item in value:
            builder.paragraph("\n".join(_lines(item)))
        return
    if not isinstance(value, dict):
        builder.paragraph("\n".join(_lines(value)))
        return
    plain = {key: item for key, item in value.items() if _is_plain(item)}
    builder.paragraph("\n".join(_lines(plain)))
    for key, item in value.items():
        if key not in plain:
            builder.heading(1, key)
            paragraphs = item if isinstance(item, list) else [item]
            for paragraph in paragraphs:
                builder.paragraph("\n".join(_lines(paragraph)))


def _lines(value: Any, path: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _lines(item, f"{path} / {key}" if path else str(key))
    elif isinstance(value, list) and not _is_plain(value):
        for number, item in enumerate(value, start=1):
            yield from _lines(item, f"{path} {number}" if path else str(number))
    else:
        text = ", ".join(map(_scalar, value)) if isinstance(value, list) else _scalar(value)
        if text:
            yield f"{path}: {text}" if path else text


def _is_plain(value: Any) -> bool:
    """Whether it fits on one line: a single value, or a list of such."""
    if isinstance(value, list):
        return not any(isinstance(item, dict | list) for item in value)
    return not isinstance(value, dict)


def _scalar(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)
