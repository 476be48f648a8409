import re
from pathlib import Path

import pytest

from elysia_chat.configs.errors import FolderNotWritableError, SettingsError
from elysia_chat.configs.loader import dump_settings, load_settings, presets
from elysia_chat.configs.paths import ensure_dir
from elysia_chat.configs.settings import Settings


def test_defaults_are_the_schema():
    assert load_settings() == Settings()


def test_later_sources_win(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    first, second = tmp_path / "a.yaml", tmp_path / "b.yaml"
    first.write_text("retrieval: {k: 2, candidates: 9}\npersona: hua\n", encoding="utf-8")
    second.write_text("retrieval: {k: 3}\n", encoding="utf-8")
    monkeypatch.setenv("ELYSIA_CHAT_RETRIEVAL__CANDIDATES", "12")
    settings = load_settings([first, second], ["retrieval.k=5"])
    assert (settings.retrieval.k, settings.retrieval.candidates, settings.persona) == (5, 12, "hua")


def test_users_file_is_read_when_none_is_named(data_folder: Path):
    data_folder.mkdir()
    (data_folder / "settings.yaml").write_text("retrieval: {k: 7}\n", encoding="utf-8")
    assert load_settings().retrieval.k == 7


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("retrieval.kk=6", r"Unknown setting 'retrieval\.kk'; known here: candidates, .*\bk\b"),
        ("colour=pink", r"Unknown setting 'colour'; known here: .*persona"),
        ("retrieval.k=99", r"retrieval\.k.*20.*99"),
        ("retrieval.candidates=1", r"retrieval\.candidates \(1\) must be at least retrieval\.k"),
        ("server.host=0.0.0.0", r"server\.user and server\.password"),
        ("model.kind=openai", r"model\.base_url and model\.name"),
        ("model.kind=llama", r"'embedded', 'transformers', 'gguf', 'openai' or 'scripted'"),
        ("nonsense", r"key=value"),
    ],
)
def test_bad_settings_are_named_in_one_line(override: str, message: str):
    with pytest.raises(SettingsError) as caught:
        load_settings(overrides=[override])
    assert re.search(message, str(caught.value), re.IGNORECASE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("value", ["none", "null"])
def test_the_reranker_can_be_turned_off(value: str):
    assert load_settings(overrides=[f"retrieval.reranker={value}"]).retrieval.reranker is None


def test_unknown_environment_variable_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ELYSIA_CHAT_RETREIVAL__K", "3")
    with pytest.raises(SettingsError, match="retrieval"):
        load_settings()


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "\x00"])
def test_broken_file(tmp_path: Path, text: str):
    path = tmp_path / "s.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError, match=r"s\.yaml"):
        load_settings([path])


def test_every_preset_loads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("ELYSIA_CHAT_SERVER__PASSWORD", "asked for by the preset 'public'")
    monkeypatch.setenv("ELYSIA_CHAT_SERVER__USER", "friends")
    for name in presets("app"):
        load_settings([name])
    for name in presets("model"):
        load_settings(overrides=[f"model_preset={name}"])
    assert {"fake", "openai", "public"} <= set(presets("app"))
    assert {"embedded", "gguf", "openai-compatible", "scripted", "transformers"} <= set(presets("model"))


def test_secrets_are_not_dumped():
    settings = load_settings(overrides=["server.user=a", "server.password=hush", "model.api_key=hush2", "model.name=m"])
    assert "hush" not in str(dump_settings(settings))


def test_a_file_in_the_way_of_the_data_folder(tmp_path: Path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(FolderNotWritableError, match="ELYSIA_CHAT_HOME"):
        ensure_dir(tmp_path / "file" / "index")
