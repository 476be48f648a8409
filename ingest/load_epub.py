"""EPUB books: the pages of the spine, in order."""

import posixpath
import zipfile
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from elysia_chat.ingest.archives import ZIP_ERRORS, open_archive, refuse_entities
from elysia_chat.ingest.document import DocumentBuilder, Limits, LoadedDocument
from elysia_chat.ingest.errors import BrokenFileError, EncryptedFileError, as_broken
from elysia_chat.ingest.load_html import parse_html, write_html

_CONTAINER = "META-INF/container.xml"
_ENCRYPTION = "META-INF/encryption.xml"
_PAGE_TYPES = ("application/xhtml+xml", "text/html")


def load_epub(data: bytes, name: str, limits: Limits) -> LoadedDocument:
    """Read a book's pages as its spine orders them; the title is the one in its metadata.

    Raises:
        EncryptedFileError: its pages are under DRM.
        DocumentError: see `loaders.load`.
    """
    builder = DocumentBuilder(limits)
    with open_archive(data, "EPUB", limits) as archive:
        refuse_entities(archive, "EPUB")
        package_path = _package_path(archive)
        package = _parse_xml(_read(archive, package_path))
        pages = [posixpath.normpath(posixpath.join(posixpath.dirname(package_path), href)) for href in _spine(package)]
        _refuse_drm(archive, pages)
        for path in pages:
            write_html(parse_html(_read(archive, path)), builder, level=1)
    title = next((element.text or "" for element in package.iter("{*}title")), "")
    return builder.build(name, own_title=title)


def _package_path(archive: zipfile.ZipFile) -> str:
    for element in _parse_xml(_read(archive, _CONTAINER)).iter("{*}rootfile"):
        if path := element.get("full-path"):
            return str(path)
    msg = "cannot be read as EPUB: its container names no package"
    raise BrokenFileError(msg)


def _spine(package: Any) -> Iterator[str]:
    """Yield the paths of the pages, relative to the package."""
    pages = {
        item.get("id"): unquote(item.get("href", ""))
        for item in package.iter("{*}item")
        if item.get("media-type") in _PAGE_TYPES
    }
    for reference in package.iter("{*}itemref"):
        if href := pages.get(reference.get("idref")):
            yield href


def _refuse_drm(archive: zipfile.ZipFile, pages: list[str]) -> None:
    """Refuse encrypted pages; encrypted fonts alone are usual and do no harm."""
    if _ENCRYPTION not in archive.namelist():
        return
    encrypted = {
        unquote(element.get("URI", ""))
        for element in _parse_xml(_read(archive, _ENCRYPTION)).iter("{*}CipherReference")
    }
    if encrypted.intersection(pages):
        msg = "is protected by DRM; only books without it can be read"
        raise EncryptedFileError(msg)


def _read(archive: zipfile.ZipFile, path: str) -> bytes:
    with as_broken("EPUB", *ZIP_ERRORS):
        return archive.read(path)


def _parse_xml(content: bytes) -> Any:
    from lxml import etree

    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    with as_broken("EPUB", etree.XMLSyntaxError, ValueError):
        return etree.fromstring(content, parser)
