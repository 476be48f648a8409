import json
from pathlib import Path

import pytest

from elysia_chat.configs.errors import FolderNotWritableError
from elysia_chat.configs.paths import home, user_persona_dir
from elysia_chat.kb import personas
from elysia_chat.kb.card import parse_card
from elysia_chat.kb.errors import PersonaExistsError, UnknownDocumentError, UnknownPersonaError, UnsafeNameError
from elysia_chat.kb.personas import create_persona, list_personas, load_persona

CARD = json.dumps({"spec": "chara_card_v3", "spec_version": "3.0", "data": {"name": "Eden", "first_mes": "Hi"}})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@pytest.fixture
def bundled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of bundled personas with one in it."""
    root = tmp_path / "bundled"
    write(root / "eden" / "card.json", CARD)
    write(root / "eden" / "lore" / "song.md", "bundled song")
    write(root / "eden" / "lore" / "gold" / "house.md", "bundled house")
    monkeypatch.setattr(personas, "BUNDLED", root)
    return root


def texts(name: str = "eden") -> dict[str, str]:
    return {rel: path.read_text(encoding="utf-8") for rel, path in load_persona(name).documents().items()}


def test_elysia_is_bundled_with_lore_and_both_languages():
    elysia = load_persona("elysia")
    assert len(elysia.documents()) > 20
    assert set(elysia.card.languages) >= {"zh", "en"}
    for language in ("zh", "en"):
        localized = elysia.card.localized(language)
        assert localized.system_prompt
        assert localized.greeting
        assert localized.refusals


def test_documents_are_listed_by_relative_path(bundled: Path):
    assert texts() == {"gold/house.md": "bundled house", "song.md": "bundled song"}


def test_the_users_document_wins_and_the_bundled_one_comes_back_when_it_goes(bundled: Path):
    assert load_persona("eden").add_document("song.md", b"mine") == "song.md"
    assert texts()["song.md"] == "mine"
    (user_persona_dir("eden") / "lore" / "song.md").unlink()
    assert texts()["song.md"] == "bundled song"


def test_the_users_card_and_picture_replace_the_bundled_ones(bundled: Path):
    write(user_persona_dir("eden") / "card.json", CARD.replace("Eden", "伊甸"))
    write(user_persona_dir("eden") / "picture.png", "")
    persona = load_persona("eden")
    assert persona.title == "伊甸"
    assert persona.picture == user_persona_dir("eden") / "picture.png"
    assert "song.md" in persona.documents()


def test_removing_and_restoring_a_bundled_document(bundled: Path):
    persona = load_persona("eden")
    persona.remove_document("gold/house.md")
    assert list(texts()) == ["song.md"]
    assert persona.removed_documents() == ["gold/house.md"]
    persona.restore_document("gold/house.md")
    assert list(texts()) == ["gold/house.md", "song.md"]
    assert persona.removed_documents() == []
    assert (bundled / "eden" / "lore" / "gold" / "house.md").is_file()


def test_removing_an_overlaid_document_removes_both(bundled: Path):
    persona = load_persona("eden")
    persona.add_document("song.md", b"mine")
    persona.remove_document("song.md")
    assert list(texts()) == ["gold/house.md"]
    persona.add_document("song.md", b"again")
    assert texts()["song.md"] == "again"
    assert persona.removed_documents() == []


def test_what_is_not_there_cannot_be_removed_or_restored(bundled: Path):
    persona = load_persona("eden")
    with pytest.raises(UnknownDocumentError, match=r"none\.md"):
        persona.remove_document("none.md")
    with pytest.raises(UnknownDocumentError, match="removed: none"):
        persona.restore_document("song.md")


@pytest.mark.parametrize("attempt", ["../card.json", "/etc/passwd", "a/../../card.json", r"..\card.json"])
def test_paths_cannot_leave_the_lore_folder(bundled: Path, attempt: str):
    persona = load_persona("eden")
    persona.add_document("mine.md", b"x")
    for method in (persona.remove_document, persona.restore_document):
        with pytest.raises(UnsafeNameError):
            method(attempt)
    assert (bundled / "eden" / "card.json").is_file()


def test_an_upload_lands_inside_whatever_it_is_called(bundled: Path):
    persona = load_persona("eden")
    assert persona.add_document("../../../../传记.md", "文".encode()) == "传记.md"
    assert (user_persona_dir("eden") / "lore" / "传记.md").read_bytes() == "文".encode()
    with pytest.raises(UnsafeNameError):
        persona.add_document("..", b"x")
    written = {p.relative_to(home()).as_posix() for p in home().rglob("*") if p.is_file()}
    assert written == {"personas/eden/lore/传记.md"}


def test_links_that_lead_out_and_hidden_files_are_left_out(bundled: Path, tmp_path: Path):
    secret = tmp_path / "secret.md"
    secret.write_text("secret", encoding="utf-8")
    lore = user_persona_dir("eden") / "lore"
    write(lore / "real.md", "real")
    write(lore / ".hidden.md", "x")
    write(lore / "~$open.docx", "x")
    (lore / "out.md").symlink_to(secret)
    (lore / "folder").symlink_to(tmp_path)
    (lore / "within.md").symlink_to(lore / "real.md")
    (lore / "loop.md").symlink_to(lore / "loop.md")
    assert list(texts()) == ["gold/house.md", "real.md", "song.md", "within.md"]


def test_removing_a_link_leaves_its_target(bundled: Path, tmp_path: Path):
    lore = user_persona_dir("eden") / "lore"
    write(lore / "real.md", "real")
    (lore / "within.md").symlink_to(lore / "real.md")
    load_persona("eden").remove_document("within.md")
    assert (lore / "real.md").is_file()
    assert not (lore / "within.md").exists()


@pytest.mark.parametrize("name", ["nobody", "", "../eden", "eden/../eden", "EDEN"])
def test_an_unknown_persona_is_told_with_the_known_ones(bundled: Path, name: str):
    with pytest.raises(UnknownPersonaError, match="known: eden"):
        load_persona(name)


def test_a_new_persona_can_be_used_at_once(bundled: Path):
    made = create_persona("小 狐狸")
    assert made.name == "小-狐狸"
    assert made.title == "小 狐狸"
    assert list_personas() == ["eden", "小-狐狸"]
    assert list(made.documents()) == ["小-狐狸.md"]
    assert "小 狐狸" in made.card.localized("zh").greeting
    assert made.card.localized("en").refusals
    written = json.loads((user_persona_dir("小-狐狸") / "card.json").read_text(encoding="utf-8"))
    assert written["spec"] == "chara_card_v3"


def test_a_new_persona_from_a_card(bundled: Path):
    made = create_persona("Aponia", parse_card(CARD.replace("Eden", "Aponia").encode()))
    assert made.card.localized("en").greeting == "Hi"


def test_a_name_that_is_taken(bundled: Path):
    with pytest.raises(PersonaExistsError, match="eden"):
        create_persona("EDEN")


def test_a_broken_list_of_removed_documents_hides_nothing(bundled: Path):
    write(user_persona_dir("eden") / "removed.json", "{")
    assert len(texts()) == 2


def test_a_data_folder_that_cannot_be_written_is_told(bundled: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("ELYSIA_CHAT_HOME", str(tmp_path / "file"))
    with pytest.raises(FolderNotWritableError):
        load_persona("eden").add_document("a.md", b"x")
