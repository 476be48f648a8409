"""Models from a hub: what is asked for, what happens when it breaks off, and with which words it fails."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from elysia_chat.configs.paths import models_dir
from elysia_chat.llm.errors import DownloadError, LibraryError
from elysia_chat.llm.library.add import add
from elysia_chat.llm.library.contents import entries
from tests.llm import tiny
from tests.llm.internlm2.test_convert import published

from .hub_server import COMMIT, Hub, serve

REPO = "someone/tiny-chat"


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub that the downloads of this test go to, and nothing but it."""
    import huggingface_hub.constants as constants
    from huggingface_hub.utils import close_session

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    # Whole chunks are kept; 10 MB are more than a tiny model has.
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 1000)
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _seconds: None)
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with serve() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served
        close_session()


@pytest.fixture
def tiny_hub(hub: Hub, tmp_path: Path) -> Hub:
    extra = {
        "modeling_x.py": b"raise SystemExit",
        "pytorch_model.bin": b"pickle",
        "onnx.onnx": b"x",
        "LICENSE": b"ours",
    }
    hub.repos[REPO] = content_of(tiny.save(tmp_path / "tiny")) | extra
    return hub


def test_a_model_is_downloaded_and_recorded(tiny_hub: Hub):
    told: list[tuple[str, float, float]] = []
    entry = add(REPO, progress=lambda *step: told.append(step))
    assert (entry.name, entry.kind, entry.folder) == ("tiny-chat", "model", models_dir() / "tiny-chat")
    there = {path.name for path in entry.folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "LICENSE", "added.json"} <= there
    assert not {"modeling_x.py", "pytorch_model.bin", "onnx.onnx"} & there
    record = entry.record
    assert record is not None
    assert (record.origin, record.source, record.revision, record.recipe) == ("hf", REPO, COMMIT, "none")
    assert (
        record.files["model.safetensors"]["sha256"]
        == tiny_hub.sibling("model.safetensors", tiny_hub.repos[REPO]["model.safetensors"])["lfs"]["sha256"]
    )
    loaded = [(done, total) for what, done, total in told if what == f"downloading {REPO}"]
    assert loaded[-1] == (len(tiny_hub.repos[REPO]["model.safetensors"]),) * 2
    assert not list((models_dir() / ".downloads").iterdir())


def test_internlm2_is_converted_after_the_download(hub: Hub, tmp_path: Path):
    hub.repos["internlm/internlm2-chat-tiny"] = content_of(published(tmp_path / "published"))
    entry = add("internlm/internlm2-chat-tiny")
    assert entry.record is not None
    assert (entry.name, entry.record.recipe) == ("internlm2-chat-tiny", "internlm2")
    assert not (entry.folder / "modeling_internlm2.py").exists()


def test_a_connection_that_breaks_off_is_taken_up_where_it_was(tiny_hub: Hub):
    tiny_hub.breaks = {"model.safetensors": [5000]}
    add(REPO)
    assert tiny_hub.ranges("model.safetensors") == [None, "bytes=5000-"]


def test_a_download_that_failed_goes_on_in_the_next_run(tiny_hub: Hub):
    tiny_hub.breaks = {"model.safetensors": [3000] + [0] * 50}
    with pytest.raises(DownloadError, match=r"cannot be reached, or broke off.*what has come is kept.*HF_ENDPOINT"):
        add(REPO)
    assert entries() == []
    tiny_hub.breaks, tiny_hub.requests = {}, []
    entry = add(REPO)
    (asked,) = tiny_hub.ranges("model.safetensors")
    assert asked == "bytes=3000-"
    assert tiny_hub.ranges("tokenizer.json") == []
    assert (entry.folder / "model.safetensors").read_bytes() == tiny_hub.repos[REPO]["model.safetensors"]


def test_a_file_that_came_damaged_is_not_used(tiny_hub: Hub):
    tiny_hub.lie = {"model.safetensors"}
    with pytest.raises(DownloadError, match=r"model\.safetensors of someone/tiny-chat came damaged"):
        add(REPO)
    tiny_hub.lie = set()
    assert add(REPO).name == "tiny-chat"


@pytest.mark.parametrize(
    ("source", "options", "message"),
    [
        ("someone/nothing", {}, "There is no model someone/nothing at http://127"),
        (REPO, {"revision": "v9"}, "has no revision 'v9'"),
        ("some one/tiny", {}, "no folder 'some one/tiny', and a name on a hub is written owner/name"),
    ],
)
def test_what_is_not_there(tiny_hub: Hub, source: str, options: dict[str, Any], message: str):
    with pytest.raises((DownloadError, LibraryError), match=message) as caught:
        add(source, **options)
    assert "\n" not in str(caught.value)


def test_a_hub_that_is_down(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    hub.status = 503
    with pytest.raises(DownloadError, match="answers with HTTP 503 for someone/tiny-chat: try again later"):
        add(REPO)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DownloadError, match="cannot be reached"):
        add(REPO)


def test_a_disk_without_room_is_told_before_the_weights_are_fetched(tiny_hub: Hub, monkeypatch: pytest.MonkeyPatch):
    import shutil

    usage = shutil.disk_usage(models_dir().parent.parent)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: usage._replace(free=40_000))
    with pytest.raises(LibraryError, match=r"needs .* GB and the disk has 0\.0 GB free"):
        add(REPO)
    assert tiny_hub.ranges("model.safetensors") == []
    assert entries() == []


def test_an_architecture_of_strange_code_is_refused_before_its_weights_are_fetched(tiny_hub: Hub):
    tiny_hub.repos[REPO]["config.json"] = b'{"model_type": "strange", "auto_map": {}}'
    with pytest.raises(LibraryError, match=r"no language model of type 'strange' by itself; code .* is never run"):
        add(REPO)
    assert tiny_hub.ranges("model.safetensors") == []


def test_the_settings_may_go_on_naming_the_hub(tiny_hub: Hub):
    from elysia_chat.configs.settings import GenerationSettings, ModelSettings
    from elysia_chat.llm.build import build_chat_model

    add(REPO, name="mine")
    tiny_hub.requests = []
    model = build_chat_model(ModelSettings(kind="transformers", name=REPO, device="cpu"), GenerationSettings())
    assert model.model_name == "mine"
    assert tiny_hub.requests == []


class TestModelScope:
    @pytest.fixture(autouse=True)
    def endpoint(self, tiny_hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", tiny_hub.url)

    def test_a_model_is_downloaded(self, tiny_hub: Hub):
        told: list[tuple[float, float]] = []
        entry = add(REPO, hub="modelscope", progress=lambda _what, *step: told.append(step))
        assert entry.record is not None
        assert (entry.record.origin, entry.record.revision) == ("modelscope", "master")
        weights = tiny_hub.repos[REPO]["model.safetensors"]
        assert (entry.folder / "model.safetensors").read_bytes() == weights
        assert (len(weights), len(weights)) in told
        assert all(path.startswith("/api/v1/") for _, path, _ in tiny_hub.requests)

    def test_a_connection_that_breaks_off_is_taken_up(self, tiny_hub: Hub):
        tiny_hub.breaks = {"model.safetensors": [5000]}
        entry = add(REPO, hub="modelscope")
        assert (entry.folder / "model.safetensors").read_bytes() == tiny_hub.repos[REPO]["model.safetensors"]
        assert len(tiny_hub.ranges("model.safetensors")) > 1

    def test_what_is_not_there(self):
        with pytest.raises(DownloadError, match="There is no model someone/nothing at ModelScope"):
            add("someone/nothing", hub="modelscope")

    def test_a_hub_that_is_down(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr("modelscope_hub._download_control.time.sleep", lambda _seconds: None, raising=False)
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", "http://127.0.0.1:9")
        with pytest.raises(DownloadError, match="ModelScope cannot be reached, or broke off"):
            add(REPO, hub="modelscope")
