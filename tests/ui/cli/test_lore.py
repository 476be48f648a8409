import os
from pathlib import Path

from elysia_chat.configs.paths import index_dir
from elysia_chat.ingest.lock import single_writer
from tests.ui.cli.conftest import Command, parsed

ON_DISK = ("--set", "store.kind=chroma", "--json")


def test_report_of_each_kind_of_change(command: Command, lore: Path):
    first = parsed(command("ingest", *ON_DISK))
    assert first["added"] == ["mini.md", "铃.md"]
    assert first["chunks"] == 2
    assert first["seconds"] > 0
    assert first["persona"] == "mini"
    (lore / "mini.md").write_text("# Mini\n\nMini moved into a green kettle.\n", encoding="utf-8")
    (lore / "铃.md").unlink()
    (lore / "new.md").write_text("# New\n\nSomething new.\n", encoding="utf-8")
    (lore / "empty.md").write_text("", encoding="utf-8")
    second = parsed(command("ingest", *ON_DISK))
    assert (second["added"], second["updated"], second["deleted"]) == (["new.md"], ["mini.md"], ["铃.md"])
    assert [failure["path"] for failure in second["failed"]] == ["empty.md"]
    third = parsed(command("ingest", *ON_DISK))
    assert (third["added"], third["updated"], third["deleted"]) == ([], [], [])
    assert third["unchanged"] == ["mini.md", "new.md"]


def test_paths_are_added_and_bad_files_only_reported(command: Command, lore: Path, tmp_path: Path):
    folder = tmp_path / "notes"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "nest.md").write_text("# Nest\n\nA nest of notes.\n", encoding="utf-8")
    (folder / "picture.xyz").write_bytes(b"\x00\x01")
    (folder / "empty.txt").write_text("", encoding="utf-8")
    (tmp_path / "secret.txt").write_text("outside", encoding="utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    single = tmp_path / "single.txt"
    single.write_text("A single file of words.", encoding="utf-8")
    report = parsed(command("ingest", str(folder), str(single), *ON_DISK))
    assert report["added"] == ["deep/nest.md", "mini.md", "single.txt", "铃.md"]
    reasons = {failure["path"]: failure["reason"] for failure in report["failed"]}
    assert set(reasons) == {"picture.xyz", "empty.txt", "link.txt"}
    assert ".md" in reasons["picture.xyz"]
    assert "empty" in reasons["empty.txt"]
    assert "link" in reasons["link.txt"]
    # What nobody can read is not taken in, so that later runs do not complain of it for ever.
    assert parsed(command("ingest", *ON_DISK))["failed"] == []
    assert (lore / "deep" / "nest.md").is_file()


def test_a_folder_of_the_same_path_replaces_and_brings_back(command: Command, lore: Path, tmp_path: Path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "mini.md").write_text("# Mini\n\nAnother story.\n", encoding="utf-8")
    command("ingest", *ON_DISK)
    assert parsed(command("ingest", str(tmp_path / "a"), *ON_DISK))["updated"] == ["mini.md"]
    assert "Another story" in (lore / "mini.md").read_text(encoding="utf-8")
    assert not [path for path in lore.rglob("*") if path.name.startswith(".")]


def test_nothing_is_copied_when_a_path_is_missing(command: Command, lore: Path, tmp_path: Path):
    there = tmp_path / "there.md"
    there.write_text("# There\n\nIt is there.\n", encoding="utf-8")
    assert command("ingest", str(there), str(tmp_path / "missing.md")).exit_code == 1
    assert not (lore / "there.md").exists()


def test_rebuild_begins_from_nothing(command: Command):
    command("ingest", *ON_DISK)
    assert parsed(command("ingest", "--rebuild", *ON_DISK))["added"] == ["mini.md", "铃.md"]


def test_a_damaged_index_is_built_anew(command: Command):
    command("ingest", *ON_DISK)
    for database in index_dir("mini").rglob("chroma.sqlite3"):
        database.write_bytes(b"not a database at all" * 200)
    asked = command("ask", "Where?", *ON_DISK)
    assert "elysia-chat ingest --persona mini" in parsed(asked)["error"]["message"]
    assert parsed(command("ingest", *ON_DISK))["chunks"] == 2
    assert parsed(command("ask", "Where?", *ON_DISK))["sources"]


def test_a_second_writer_is_told(command: Command):
    with single_writer(index_dir("mini") / "manifest.sqlite3"):
        error = parsed(command("ingest", *ON_DISK))["error"]
    assert error["type"] == "IngestBusyError"
    assert str(os.getpid()) in error["message"]


def test_report_in_words(command: Command, lore: Path):
    (lore / "empty.md").write_text("", encoding="utf-8")
    result = command("ingest")
    assert "added    mini.md\n" in result.stdout
    assert "failed   empty.md: is empty\n" in result.stdout
    assert "2 added, 0 updated, 0 deleted, 0 unchanged, 1 failed; 2 passages;" in result.stdout
    assert "embedding passages" in result.stderr


def test_a_data_folder_that_cannot_be_written(command: Command, tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    made = command("personas", "new", "Su", "--json", env={"ELYSIA_CHAT_HOME": str(tmp_path / "file" / "home")})
    assert "ELYSIA_CHAT_HOME" in parsed(made)["error"]["message"]
