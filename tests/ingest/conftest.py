"""Files of every format, made here, and indexes to take them."""

import io
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

import pytest

from elysia_chat.configs.paths import index_dir
from elysia_chat.configs.settings import StoreSettings
from elysia_chat.ingest.pipeline import IngestOptions
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base


class Files:
    """Bytes of files that no text editor writes."""

    def pdf(self, *pages: str) -> bytes:
        """A PDF with one text line for each line of each page, any script, by way of a ToUnicode map."""
        objects = [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"",
            b"<< /Type /Font /Subtype /Type0 /BaseFont /X /Encoding /Identity-H /DescendantFonts [4 0 R] "
            b"/ToUnicode 5 0 R >>",
            b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /X /DW 1000 "
            b"/CIDSystemInfo << /Registry (Adobe) /Ordering (Identity) /Supplement 0 >> >>",
            _stream(_to_unicode("".join(pages))),
        ]
        kids = []
        for page in pages:
            lines = b"".join(
                b"<%s> Tj 0 -20 Td " % line.encode("utf-16-be").hex().encode() for line in page.split("\n")
            )
            objects.append(_stream(b"BT /F1 12 Tf 50 700 Td " + lines + b"ET"))
            objects.append(
                b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 600 800] /Contents %d 0 R "
                b"/Resources << /Font << /F1 3 0 R >> >> >>" % len(objects)
            )
            kids.append(b"%d 0 R" % len(objects))
        objects[1] = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (b" ".join(kids), len(kids))
        return _assemble(objects)

    def docx(self, build: Callable[..., None]) -> bytes:
        """A Word document that `build` fills."""
        import docx

        document = docx.Document()
        build(document)
        return _saved(document.save)

    def xlsx(self, sheets: dict[str, Sequence[Sequence[object]]]) -> bytes:
        """A workbook with these rows."""
        import openpyxl

        workbook = openpyxl.Workbook()
        workbook.remove(workbook.active)
        for name, rows in sheets.items():
            sheet = workbook.create_sheet(name)
            for row in rows:
                sheet.append(list(row))
        return _saved(workbook.save)

    def epub(self, pages: dict[str, str], title: str = "Book", extra: dict[str, str] | None = None) -> bytes:
        """A book with these pages of XHTML, in reverse order in the manifest and in order in the spine."""
        items = "".join(f'<item id="{n}" href="{n}" media-type="application/xhtml+xml"/>' for n in reversed(pages))
        spine = "".join(f'<itemref idref="{name}"/>' for name in pages)
        members = {
            "mimetype": "application/epub+zip",
            "META-INF/container.xml": '<?xml version="1.0"?><container '
            'xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
            '<rootfile full-path="OEBPS/book.opf"/></rootfiles></container>',
            "OEBPS/book.opf": '<?xml version="1.0"?><package xmlns="http://www.idpf.org/2007/opf" '
            f'xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata><dc:title>{title}</dc:title></metadata>'
            f"<manifest>{items}</manifest><spine>{spine}</spine></package>",
            **{f"OEBPS/{name}": content for name, content in pages.items()},
            **(extra or {}),
        }
        return self.zip(members)

    def zip(self, members: dict[str, str | bytes]) -> bytes:
        """A zip archive."""
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return buffer.getvalue()

    def changed_zip(self, data: bytes, changes: dict[str, str | bytes]) -> bytes:
        """The same archive with some members replaced."""
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        return self.zip({**members, **changes})


def _saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def _stream(content: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content)


def _to_unicode(text: str) -> bytes:
    """A CMap that maps each character's UTF-16 code to itself."""
    codes = sorted({character.encode("utf-16-be").hex().encode() for character in text if character != "\n"})
    lines = b"".join(b"1 beginbfchar <%s> <%s> endbfchar " % (code, code) for code in codes)
    return (
        b"/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
        b"1 begincodespacerange <0000> <FFFF> endcodespacerange " + lines + b"endcmap end end"
    )


def _assemble(objects: Sequence[bytes]) -> bytes:
    data, offsets = b"%PDF-1.7\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    count = len(objects) + 1
    return data + b"xref\n0 %d\n0000000000 65535 f \n%strailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        count, table, count, len(data),
    )  # fmt: skip


@pytest.fixture(scope="session")
def files() -> Files:
    return Files()


@pytest.fixture(params=["memory", "chroma"])
def index(request: pytest.FixtureRequest) -> Iterator[KnowledgeBase]:
    """An empty index, in memory and in Chroma by turns."""
    with closing(open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind=request.param))) as opened:
        yield opened


@pytest.fixture
def memory_index() -> Iterator[KnowledgeBase]:
    """An empty index in memory."""
    with closing(open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))) as opened:
        yield opened


@pytest.fixture
def manifest_path(data_folder: Path) -> Path:
    """Where the index's record belongs."""
    return index_dir("elysia") / "manifest.sqlite3"


@pytest.fixture
def options() -> IngestOptions:
    return IngestOptions(chunk_size=200, chunk_overlap=0)
