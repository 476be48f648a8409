"""Word documents (DOCX) and Excel workbooks (XLSX)."""

import io
import re
import warnings
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any

from elysia_chat.ingest.archives import ZIP_ERRORS, open_archive, refuse_entities
from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.errors import as_broken
from elysia_chat.ingest.load_tables import write_rows

if TYPE_CHECKING:
    from docx.table import Table
    from docx.text.paragraph import Paragraph

_HEADING_STYLE = re.compile(r"^heading (\d)$", re.IGNORECASE)
_DAMAGE: tuple[type[Exception], ...] = (
    *ZIP_ERRORS, TypeError, AttributeError, IndexError, AssertionError, RecursionError, SyntaxError,
)  # fmt: skip


def load_docx(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read a Word document: headings by their style, paragraphs, lists, tables with ` | ` between cells.

    Raises:
        DocumentError: see `loaders.load`.
    """
    _check_archive(data, "DOCX", limits)
    import docx
    from docx.opc.exceptions import OpcError
    from docx.text.paragraph import Paragraph

    builder = DocumentBuilder(limits)
    with as_broken("DOCX", OpcError, *_DAMAGE):
        document = docx.Document(io.BytesIO(data))
        title = document.core_properties.title or ""
        items: list[str] = []
        for block in document.iter_inner_content():
            if isinstance(block, Paragraph):
                items = _add_paragraph(block, items, builder)
            else:
                builder.paragraph("\n".join(items))
                items = []
                builder.paragraph("\n".join(_table_lines(block)))
        builder.paragraph("\n".join(items))
    return builder.build(name, own_title=title)


def _add_paragraph(paragraph: "Paragraph", items: list[str], builder: DocumentBuilder) -> list[str]:
    """Add a paragraph and return the list items that wait for the rest of their list."""
    style = str((paragraph.style and paragraph.style.name) or "")
    if style.lower().startswith("list") and paragraph.text.strip():
        return [*items, f"- {paragraph.text.strip()}"]
    builder.paragraph("\n".join(items))
    heading = _HEADING_STYLE.match(style)
    if heading or style == "Title":
        # The title stands above the headings, which begin at 1.
        builder.heading(int(heading[1]) + 1 if heading else 1, paragraph.text)
    else:
        builder.paragraph(paragraph.text)
    return []


def _table_lines(table: "Table") -> Iterator[str]:
    for row in table.rows:
        # A merged cell appears once for each column that it spans.
        cells = list({id(cell._tc): cell for cell in row.cells}.values())
        line = " | ".join(" ".join(cell.text.split()) for cell in cells)
        if line.strip(" |"):
            yield line


def load_xlsx(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read a workbook: each sheet under its name, each row as `column: value` lines; formulas by their last value.

    Raises:
        DocumentError: see `loaders.load`.
    """
    _check_archive(data, "XLSX", limits)
    import openpyxl
    from openpyxl.utils.exceptions import InvalidFileException

    builder = DocumentBuilder(limits)
    with as_broken("XLSX", InvalidFileException, *_DAMAGE), warnings.catch_warnings():
        # It warns of charts, validations and the like that it leaves out; none of them is text.
        warnings.filterwarnings("ignore", module="openpyxl")
        workbook = openpyxl.load_workbook(io.BytesIO(data), read_only=True, data_only=True)
        for sheet in workbook.worksheets:
            # The size that a sheet claims may be wrong, too small as well as far too large.
            sheet.reset_dimensions()
            builder.heading(1, sheet.title)
            write_rows((list(map(_cell_text, row)) for row in sheet.iter_rows(values_only=True)), builder)
    return builder.build(name, title_heading=False)


def _check_archive(data: bytes, kind: str, limits: Limits) -> None:
    with open_archive(data, kind, limits) as archive:
        refuse_entities(archive, kind)


def _cell_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.date().isoformat() if value.time() == time() else value.isoformat(" ", "seconds")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return str(value)
    if isinstance(value, float):
        return f"{value:.15g}"
    return str(value)
