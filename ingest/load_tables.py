"""Rows of a table as `column: value` lines, and CSV."""

import csv
import io
from collections.abc import Iterable, Sequence

from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.encodings import decode
from elysia_chat.ingest.errors import as_broken

_SNIFFED_CHARACTERS = 8192


def load_csv(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read a CSV or TSV file whose first row names the columns.

    Raises:
        DocumentError: see `loaders.load`.
    """
    text = decode(data)
    builder = DocumentBuilder(limits)
    with as_broken("CSV", csv.Error):
        write_rows(csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text)), builder)
    return builder.build(name)


def write_rows(rows: Iterable[Sequence[str]], builder: DocumentBuilder) -> None:
    """Add each row as one paragraph of `column: value` lines, without its empty cells.

    Args:
        rows: the first that is not empty names the columns; alone, it is added as it is.
        builder: takes the paragraphs.
    """
    filled = (cells for row in rows if any(cells := [" ".join(cell.split()) for cell in row]))
    columns = next(filled, None)
    if columns is None:
        return
    alone = True
    for row in filled:
        alone = False
        lines = (f"{_column(columns, number)}: {cell}" for number, cell in enumerate(row) if cell)
        builder.paragraph("\n".join(lines))
    if alone:
        builder.paragraph(" | ".join(filter(None, columns)))


def _column(columns: Sequence[str], number: int) -> str:
    name = columns[number] if number < len(columns) else ""
    return name or f"column {number + 1}"


def _delimiter(text: str) -> str:
    try:
        return csv.Sniffer().sniff(text[:_SNIFFED_CHARACTERS], delimiters=",;\t|").delimiter
    except csv.Error:
        return ","
