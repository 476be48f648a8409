"""Zip containers (DOCX, XLSX, EPUB), checked before anything in them is read."""

import io
import re
import zipfile
import zlib

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import ArchiveBombError, BrokenFileError, EncryptedFileError, as_broken

_OLE_MARK = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_OLE_ENCRYPTED = "EncryptedPackage".encode("utf-16-le")
_MOST_MEMBERS = 50_000
_ENTITY = re.compile(rb"<!ENTITY", re.IGNORECASE)
_WIDE_ENTITY = tuple("<!ENTITY".encode(encoding) for encoding in ("utf-16-le", "utf-16-be"))
_MEDIA_SUFFIXES = (".png", ".jpg", ".jpeg", ".gif", ".webp", ".ttf", ".otf", ".woff", ".woff2", ".mp3", ".mp4")
ZIP_ERRORS: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    EOFError,
    OSError,
    NotImplementedError,
    ValueError,
    KeyError,
    RuntimeError,
)


def open_archive(data: bytes, kind: str, limits: Limits) -> zipfile.ZipFile:
    """Open a zip container.

    Reading a member can give no more than the size its header claims, so the sum of the claims is what the archive
    can cost.

    Args:
        data: the whole file.
        kind: what it is read as, for the messages ("DOCX").
        limits: `unpacked_bytes` bounds the sum of its members.

    Raises:
        EncryptedFileError: it needs a password.
        BrokenFileError: it is no zip archive, or declares XML entities, which these formats do not have.
        ArchiveBombError: it unpacks to more than the limit.
    """
    if data.startswith(_OLE_MARK):
        _refuse_ole(data, kind)
    with as_broken(kind, *ZIP_ERRORS):
        archive = zipfile.ZipFile(io.BytesIO(data))
    members = archive.infolist()
    unpacked = sum(member.file_size for member in members)
    if unpacked > limits.unpacked_bytes:
        limit = limits.unpacked_bytes / 1e6
        msg = f"unpacks to {unpacked / 1e6:,.0f} MB, the limit is {limit:g} MB (ingest.max_unpacked_mb)"
        raise ArchiveBombError(msg)
    if len(members) > _MOST_MEMBERS:
        msg = f"holds {len(members):,} files, the limit is {_MOST_MEMBERS:,}"
        raise ArchiveBombError(msg)
    if any(member.flag_bits & 1 for member in members):
        msg = "needs a password; save it without one"
        raise EncryptedFileError(msg)
    return archive


def refuse_entities(archive: zipfile.ZipFile, kind: str) -> None:
    """Refuse an archive whose XML declares entities, whatever its parser would make of them.

    Raises:
        BrokenFileError: an XML member declares an entity, or cannot be read.
    """
    for member in archive.infolist():
        if member.filename.lower().endswith(_MEDIA_SUFFIXES):
            continue
        with as_broken(kind, *ZIP_ERRORS):
            content = archive.read(member)
        if _ENTITY.search(content) or any(mark in content for mark in _WIDE_ENTITY):
            msg = f"declares XML entities in {member.filename}, which a {kind} file has no use for"
            raise BrokenFileError(msg)


def _refuse_ole(data: bytes, kind: str) -> None:
    if _OLE_ENCRYPTED in data:
        msg = f"needs a password; save it as {kind} without one"
        raise EncryptedFileError(msg)
    msg = f"is in the Office format of before 2007; save it as {kind}"
    raise BrokenFileError(msg)
