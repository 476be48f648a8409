import pytest

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import ArchiveBombError, BrokenFileError, EncryptedFileError
from elysia_chat.ingest.load_epub import load_epub

HEAD = '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>t</title></head>'
PAGES = {
    "1.xhtml": f"{HEAD}<body><h1>第一章</h1><p>爱莉希雅来了。</p></body></html>",
    "2.xhtml": f"{HEAD}<body><h1>第二章</h1><p>她笑了。</p><h2>花</h2><p>很香。</p></body></html>",
}
DRM = """<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">
<enc:EncryptedData><enc:CipherData><enc:CipherReference URI="{}"/></enc:CipherData></enc:EncryptedData></encryption>"""


def test_the_spine_orders_the_pages(files):
    document = load_epub(files.epub(PAGES, title="往世乐土"), "name", Limits())
    assert document.title == "往世乐土"
    assert [(s.heading_path, s.text) for s in document.sections] == [
        (("第一章",), "爱莉希雅来了。"),
        (("第二章",), "她笑了。"),
        (("第二章", "花"), "很香。"),
    ]


def test_pages_under_drm_are_refused_and_fonts_are_not(files):
    with pytest.raises(EncryptedFileError, match="DRM"):
        load_epub(files.epub(PAGES, extra={"META-INF/encryption.xml": DRM.format("OEBPS/1.xhtml")}), "n", Limits())
    assert load_epub(files.epub(PAGES, extra={"META-INF/encryption.xml": DRM.format("OEBPS/a.ttf")}), "n", Limits())


@pytest.mark.parametrize(
    "change",
    [
        {"OEBPS/book.opf": "<package"},
        {"META-INF/container.xml": "<container/>"},
        {"OEBPS/book.opf": '<!DOCTYPE p [<!ENTITY a "x">]><package><spine/></package>'},
    ],
)
def test_a_damaged_one_is_refused(files, change):
    with pytest.raises(BrokenFileError):
        load_epub(files.changed_zip(files.epub(PAGES), change), "n", Limits())


def test_a_missing_page_is_refused(files):
    data = files.epub({})
    opf = (
        '<package><manifest><item id="a" href="gone.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    with pytest.raises(BrokenFileError, match="EPUB"):
        load_epub(files.changed_zip(data, {"OEBPS/book.opf": opf}), "n", Limits())


def test_it_may_not_unpack_to_too_much(files):
    with pytest.raises(ArchiveBombError):
        load_epub(files.epub(PAGES, extra={"big.css": "x" * 100_000}), "n", Limits(unpacked_bytes=50_000))
