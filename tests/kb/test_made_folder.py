"""Folders that are made once."""

import json
from pathlib import Path

import pytest

from elysia_chat.kb.made_folder import STAMP, is_made, made_folder

NEEDED = ("config.json", "1_Pooling/config.json")


def write(folder: Path) -> None:
    for name in NEEDED:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("{}")


def test_a_folder_is_complete_only_with_every_file_and_the_stamp_of_what_it_is_made_of(tmp_path: Path):
    write(tmp_path)
    assert not is_made(tmp_path, "a", NEEDED)
    for stamp in ("{", "[]", "{}", json.dumps({"identity": "b"})):
        (tmp_path / STAMP).write_text(stamp)
        assert not is_made(tmp_path, "a", NEEDED)
    (tmp_path / STAMP).write_text(json.dumps({"identity": "a"}))
    assert is_made(tmp_path, "a", NEEDED)
    (tmp_path / NEEDED[0]).unlink()
    assert not is_made(tmp_path, "a", NEEDED)


def test_it_is_made_again_of_something_else_and_nothing_old_stays(tmp_path: Path):
    folder = tmp_path / "models" / "made"
    made_folder(folder, {"identity": "a"}, NEEDED, write)
    (folder / "old").touch()
    assert made_folder(folder, {"identity": "a"}, NEEDED, write) == folder
    assert (folder / "old").exists()
    made_folder(folder, {"identity": "b", "license": "MIT"}, NEEDED, write)
    assert not (folder / "old").exists()
    assert json.loads((folder / STAMP).read_text()) == {"identity": "b", "license": "MIT"}


def test_what_fails_halfway_leaves_the_former_folder_and_nothing_else(tmp_path: Path):
    folder = tmp_path / "made"
    made_folder(folder, {"identity": "a"}, NEEDED, write)

    def half(where: Path) -> None:
        (where / "config.json").touch()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        made_folder(folder, {"identity": "b"}, NEEDED, half)
    assert is_made(folder, "a", NEEDED)
    assert {path.name for path in tmp_path.iterdir()} == {"made", ".made.lock"}
