import os
import random
from contextlib import suppress

import pytest

from elysia_chat.ingest.document import Limits
from elysia_chat.ingest.errors import (
    BrokenFileError,
    DocumentError,
    EmptyFileError,
    EncryptedFileError,
    LinkOutsideError,
    TooLargeError,
    UnknownTypeError,
    UnreadableFileError,
)
from elysia_chat.ingest.loaders import SUPPORTED, discover, load, parse


def samples(files):
    return {
        ".md": "# T\n\n爱莉希雅".encode(),
        ".markdown": "爱莉希雅".encode(),
        ".txt": "爱莉希雅".encode("gbk"),
        ".text": "爱莉希雅".encode("utf-16"),
        ".html": "<p>爱莉希雅</p>".encode(),
        ".htm": "<p>爱莉希雅</p>".encode(),
        ".xhtml": "<p>爱莉希雅</p>".encode(),
        ".pdf": files.pdf("爱莉希雅"),
        ".docx": files.docx(lambda document: document.add_paragraph("爱莉希雅")),
        ".xlsx": files.xlsx({"S": [["名"], ["爱莉希雅"]]}),
        ".csv": "名\n爱莉希雅\n".encode(),
        ".tsv": "名\t字\n爱莉希雅\t1\n".encode(),
        ".json": '{"名": "爱莉希雅"}'.encode(),
        ".jsonl": '{"名": "爱莉希雅"}\n'.encode(),
        ".ndjson": '{"名": "爱莉希雅"}\n'.encode(),
        ".epub": files.epub({"1.xhtml": "<html><body><p>爱莉希雅</p></body></html>"}),
    }


@pytest.mark.parametrize("extension", SUPPORTED)
def test_every_supported_type_is_read(tmp_path, files, extension):
    path = tmp_path / f"lore{extension.upper()}"
    path.write_bytes(samples(files)[extension])
    assert "爱莉希雅" in load(path).text


@pytest.mark.parametrize("extension", SUPPORTED)
def test_noise_is_read_or_refused_with_a_reason(files, extension):
    """Whatever a library raises for damaged input must end as one file's failure, not as the run's."""
    good = samples(files)[extension]
    noise = random.Random(extension)
    for _ in range(60):
        data = bytearray(good)
        for _ in range(noise.randint(1, 8)):
            data[noise.randrange(len(data))] = noise.randrange(256)
        with suppress(DocumentError):
            assert parse(f"x{extension}", bytes(data), Limits(unpacked_bytes=10_000_000)).text


@pytest.mark.parametrize("extension", SUPPORTED)
@pytest.mark.parametrize("data", [b"", b" \r\n\t\n "])
def test_empty_files(tmp_path, extension, data):
    path = tmp_path / f"lore{extension}"
    path.write_bytes(data)
    with pytest.raises(EmptyFileError, match=r"empty|white space") as caught:
        load(path)
    assert caught.value.document == path.name
    assert str(caught.value).startswith(path.name)


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.md", b"# Only\n\n## Headings\n"),
        ("a.md", b"---\ntitle: x\n---\n"),
        ("a.html", b"<html><body><script>x</script></body></html>"),
        ("a.json", b"{}"),
        ("a.txt", "\u200b\ufeff　".encode()),
    ],
)
def test_files_without_text_are_empty(name, data):
    with pytest.raises(EmptyFileError):
        parse(name, data, Limits())


@pytest.mark.parametrize("name", ["a.png", "a.doc", "a.xls", "README", "a.txt.bak"])
def test_unknown_types_name_the_known_ones(tmp_path, name):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UnknownTypeError, match=r"\.docx"):
        load(tmp_path / name)


def test_over_the_size_limit(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"x" * 1001)
    with pytest.raises(TooLargeError, match="max_file_mb"):
        load(tmp_path / "a.txt", Limits(file_bytes=1000))
    (tmp_path / "b.txt").write_bytes(b"x" * 1000)
    assert load(tmp_path / "b.txt", Limits(file_bytes=1000)).text


def test_more_text_than_the_limit(files):
    with pytest.raises(TooLargeError):
        parse("a.txt", b"x" * 2000, Limits(unpacked_bytes=1000))


def test_a_link_out_of_the_folder_is_refused_and_one_within_is_read(tmp_path):
    inside, outside = tmp_path / "in", tmp_path / "out"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (inside / "lore.txt").write_text("lore")
    (inside / "bad.txt").symlink_to(outside / "secret.txt")
    (inside / "good.txt").symlink_to(inside / "lore.txt")
    (inside / "loop.txt").symlink_to(inside / "loop.txt")
    (inside / "dangling.txt").symlink_to(inside / "gone.txt")
    with pytest.raises(LinkOutsideError):
        load(inside / "bad.txt")
    assert load(inside / "good.txt").text == "lore"
    with pytest.raises(DocumentError):
        load(inside / "loop.txt")
    with pytest.raises(UnreadableFileError, match="not there"):
        load(inside / "dangling.txt")


def test_a_linked_folder_is_inside_its_root_only_when_it_is(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (outside / "a.txt").write_text("secret")
    (root / "sub").symlink_to(outside, target_is_directory=True)
    with pytest.raises(LinkOutsideError):
        load(root / "sub" / "a.txt", root=root)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    (tmp_path / "a.txt").chmod(0)
    with pytest.raises(UnreadableFileError, match="permission"):
        load(tmp_path / "a.txt")


def test_a_refusal_of_the_system_is_unreadable(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("x")

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(UnreadableFileError, match=r"Permission denied.*check its permissions"):
        load(tmp_path / "a.txt")


def test_a_pipe_is_not_opened(tmp_path):
    os.mkfifo(tmp_path / "a.txt")
    with pytest.raises(UnreadableFileError, match="regular"):
        load(tmp_path / "a.txt")


def test_a_missing_file_is_missing(tmp_path):
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "a.txt")


def test_a_wrong_extension_is_broken(files):
    for name in ("a.pdf", "a.docx", "a.xlsx", "a.epub"):
        with pytest.raises((BrokenFileError, EncryptedFileError)):
            parse(name, b"just a text", Limits())
    with pytest.raises(BrokenFileError):
        parse("a.txt", files.docx(lambda document: document.add_paragraph("x")), Limits())


def test_discover_lists_documents_by_relative_path(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    for name in ("b.md", "sub/a.txt", "sub/deep/c.pdf", ".hidden.md", ".git/d.md", "Thumbs.db", "picture.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    outside.mkdir()
    (outside / "secret.txt").write_text("secret")
    (root / "way_out").symlink_to(outside, target_is_directory=True)
    (root / "way_in").symlink_to(root / "sub", target_is_directory=True)
    found = discover(root)
    assert list(found) == ["b.md", "picture.png", "sub/a.txt", "sub/deep/c.pdf", "way_out"]
    with pytest.raises(LinkOutsideError):
        load(found["way_out"], root=root)
