import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.kb.errors import UnsafeNameError
from elysia_chat.kb.names import MAX_FILENAME_BYTES, is_slug, safe_filename, safe_relative_path, slugify


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("Elysia", "elysia"),
        ("爱莉希雅", "爱莉希雅"),
        ("  Vill-V!  ", "vill-v"),
        ("../../etc", "etc"),
        ("Ｅｄｅｎ", "eden"),
    ],
)
def test_slugs(name: str, slug: str):
    assert slugify(name) == slug
    assert is_slug(slug)


@pytest.mark.parametrize("name", ["", "...", "/", "con", "\x00", "♪"])
def test_names_of_which_nothing_is_left(name: str):
    with pytest.raises(UnsafeNameError):
        slugify(name)


@pytest.mark.parametrize(
    ("upload", "safe"),
    [
        ("爱莉希雅的生日.md", "爱莉希雅的生日.md"),
        ("../../etc/passwd", "passwd"),
        (r"C:\Users\me\设定.docx", "设定.docx"),
        ("a\u202egnp.md", "agnp.md"),
        ("a\nb\x00.txt", "ab.txt"),
        ('q<>:"|?*.pdf', "q_______.pdf"),
        ("  spaced   name .md", "spaced name.md"),
        ("lore.", "lore"),
        (".hidden.md", "hidden.md"),
    ],
)
def test_upload_names(upload: str, safe: str):
    assert safe_filename(upload) == safe


@pytest.mark.parametrize("upload", ["", ".", "..", "a/..", "CON.txt", "///", "…"])
def test_upload_names_of_which_nothing_is_left(upload: str):
    with pytest.raises(UnsafeNameError):
        safe_filename(upload)


def test_a_long_name_is_cut_between_characters_and_keeps_its_extension():
    made = safe_filename("爱" * 300 + ".md")
    assert made.endswith("爱.md")
    assert len(made.encode()) <= MAX_FILENAME_BYTES


@given(st.text(max_size=80))
def test_no_upload_name_leaves_the_folder(name: str):
    try:
        made = safe_filename(name)
    except UnsafeNameError:
        return
    assert made not in ("", ".", "..")
    assert not set(made) & set('/\\\x00:<>|?*"')
    assert not made.startswith(".") or made.strip(".")
    assert safe_filename(made) == made


@pytest.mark.parametrize("path", ["a.md", "sub/文档.md"])
def test_relative_paths(path: str):
    assert safe_relative_path(path) == path


@pytest.mark.parametrize("path", ["", "/a", "../a", "a/../b", "a//b", "./a", r"a\..\b", "C:/x", "a\x00"])
def test_paths_that_leave(path: str):
    with pytest.raises(UnsafeNameError):
        safe_relative_path(path)
