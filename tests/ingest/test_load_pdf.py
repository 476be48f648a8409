import io

import pytest
from pypdf import PdfReader, PdfWriter

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import BrokenFileError, EmptyFileError, EncryptedFileError
from elysia_chat.ingest.load_pdf import load_pdf


def encrypted(data: bytes, password: str, algorithm: str) -> bytes:
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(data)))
    writer.encrypt(password, owner_password="owner", algorithm=algorithm)
    buffer = io.BytesIO()
    writer.write(buffer)
    return buffer.getvalue()


def test_each_page_stands_under_its_number(files):
    document = load_pdf(files.pdf("First page.", "", "爱莉希雅喜欢花。"), "lore", Limits())
    assert document.title == "lore"
    assert [(s.heading_path, s.text) for s in document.sections] == [
        (("p. 1",), "First page."),
        (("p. 3",), "爱莉希雅喜欢花。"),
    ]


def test_lines_that_only_the_layout_broke_are_joined(files):
    text = load_pdf(files.pdf("爱莉希雅喜\n欢花。\nShe likes flow-\ners and\ntea. New\nLine"), "x", Limits()).text
    assert "爱莉希雅喜欢花。\nShe likes flowers and tea. New\nLine" in text


def test_a_single_page_does_not_name_the_document(files):
    assert load_pdf(files.pdf("Only."), "lore", Limits()).title == "lore"


def test_the_title_in_its_properties_is_used(files):
    writer = PdfWriter(clone_from=PdfReader(io.BytesIO(files.pdf("Text."))))
    writer.add_metadata({"/Title": "Elysian Realm"})
    buffer = io.BytesIO()
    writer.write(buffer)
    assert load_pdf(buffer.getvalue(), "x", Limits()).title == "Elysian Realm"


def test_without_text_it_may_be_scanned(files):
    with pytest.raises(EmptyFileError, match="no text; scanned"):
        load_pdf(files.pdf("", ""), "scan", Limits())


@pytest.mark.parametrize("algorithm", ["RC4-128", "AES-128", "AES-256"])
def test_a_password_is_asked_for(files, algorithm):
    with pytest.raises(EncryptedFileError, match="password"):
        load_pdf(encrypted(files.pdf("Secret."), "user", algorithm), "x", Limits())


def test_one_that_opens_without_a_password_is_read(files):
    assert "Open" in load_pdf(encrypted(files.pdf("Open."), "", "AES-256"), "x", Limits()).text


@pytest.mark.parametrize("data", [b"%PDF-1.7 and then nothing", b"no PDF at all", b"%PDF-1.7\n" + bytes(300)])
def test_a_damaged_one_is_broken(data):
    with pytest.raises(BrokenFileError, match="PDF"):
        load_pdf(data, "x", Limits())


def test_cut_off_anywhere_it_is_read_or_refused(files):
    """pypdf raises whatever its parser trips over; any of that has to stay one file's failure."""
    data = files.pdf("Some text.", "爱莉希雅")
    for length in range(20, len(data), 37):
        try:
            load_pdf(data[:length], "x", Limits())
        except (BrokenFileError, EmptyFileError):
            continue
