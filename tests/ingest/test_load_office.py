import datetime
import io
import zipfile

import pytest

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import ArchiveBombError, BrokenFileError, EncryptedFileError
from elysia_chat.ingest.load_office import load_docx, load_xlsx

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
BOMB = (
    '<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;">]>'
    '<w:document xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main">'
    "<w:body><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w:body></w:document>"
)


def fill(document):
    document.core_properties.title = ""
    document.add_heading("爱莉希雅", 0)
    document.add_paragraph("Intro.")
    document.add_heading("Likes", 1)
    document.add_paragraph("flowers", style="List Bullet")
    document.add_paragraph("tea", style="List Bullet")
    document.add_paragraph("After the list.")
    document.add_heading("Figures", 2)
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        [c for row in table.rows for c in row.cells], ["Item", "Value", "Height", "168"], strict=True
    ):
        cell.text = text
    merged = table.add_row().cells
    merged[0].merge(merged[1]).text = "both"


def test_a_word_document_keeps_headings_lists_and_tables(files):
    document = load_docx(files.docx(fill), "name", Limits())
    assert document.title == "爱莉希雅"
    assert [(s.heading_path, s.text) for s in document.sections] == [
        ((), "Intro."),
        (("Likes",), "- flowers\n- tea\n\nAfter the list."),
        (("Likes", "Figures"), "Item | Value\nHeight | 168\nboth"),
    ]


def test_a_list_at_the_end_is_kept(files):
    document = load_docx(files.docx(lambda d: d.add_paragraph("last", style="List Number")), "name", Limits())
    assert document.text == "- last"


def test_each_sheet_has_rows_of_named_values(files):
    rows = [
        ["名字", "生日", None, "力量"],
        [],
        ["爱莉希雅", datetime.date(2021, 11, 11), "x", 1.50],
        ["凯文", None, None, 3],
    ]
    document = load_xlsx(files.xlsx({"英桀": rows, "Empty": [], "Head": [["only", "names"]]}), "name", Limits())
    assert document.title == "name"
    assert [(s.heading_path, s.text) for s in document.sections] == [
        (("英桀",), "名字: 爱莉希雅\n生日: 2021-11-11\ncolumn 3: x\n力量: 1.5\n\n名字: 凯文\n力量: 3"),
        (("Empty",), ""),
        (("Head",), "only | names"),
    ]


def test_a_sheet_that_lies_about_its_size_is_read_whole(files):
    data = files.xlsx({"S": [["a", "b"], ["1", "2"], ["3", "4"]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").replace(b'ref="A1:B3"', b'ref="A1:A1"')
    text = load_xlsx(files.changed_zip(data, {"xl/worksheets/sheet1.xml": sheet}), "x", Limits()).text
    assert "b: 4" in text


@pytest.mark.parametrize("load", [load_docx, load_xlsx])
class TestRefusals:
    def test_password(self, load):
        with pytest.raises(EncryptedFileError, match="password"):
            load(OLE + "EncryptedPackage".encode("utf-16-le") + bytes(512), "x", Limits())

    def test_old_format(self, load):
        with pytest.raises(BrokenFileError, match="before 2007"):
            load(OLE, "x", Limits())

    @pytest.mark.parametrize("data", [b"not a zip", b"PK\x03\x04 and nothing"])
    def test_no_archive(self, load, data):
        with pytest.raises(BrokenFileError):
            load(data, "x", Limits())

    def test_an_archive_of_something_else(self, load, files):
        with pytest.raises(BrokenFileError):
            load(files.zip({"hello.txt": "hello"}), "x", Limits())

    def test_unpacks_to_too_much(self, load, files):
        with pytest.raises(ArchiveBombError, match="unpacks to 2 MB, the limit is 1 MB"):
            load(files.zip({"word/document.xml": bytes(2_000_000)}), "x", Limits(unpacked_bytes=1_000_000))

    def test_entities(self, load, files):
        with pytest.raises(BrokenFileError, match="entities"):
            load(files.zip({"word/document.xml": BOMB, "xl/workbook.xml": BOMB}), "x", Limits())

    def test_entities_in_another_encoding(self, load, files):
        with pytest.raises(BrokenFileError, match="entities"):
            load(files.zip({"word/document.xml": BOMB.encode("utf-16")}), "x", Limits())


def test_cut_off_anywhere_a_word_document_is_refused(files):
    data = files.docx(fill)
    for length in range(30, len(data) - 30, len(data) // 40):
        with pytest.raises(BrokenFileError):
            load_docx(data[:length], "x", Limits())


def test_damaged_xml_inside_is_refused(files):
    with pytest.raises(BrokenFileError):
        load_docx(files.changed_zip(files.docx(fill), {"word/document.xml": "<w:document"}), "x", Limits())
    with pytest.raises(BrokenFileError):
        load_xlsx(
            files.changed_zip(files.xlsx({"S": [["a"]]}), {"xl/worksheets/sheet1.xml": "<worksheet><"}), "x", Limits()
        )
