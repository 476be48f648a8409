"""Folders become models and adapters of the data folder, whole or not at all."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from elysia_chat.configs.paths import models_dir
from elysia_chat.llm.errors import AdapterError, ConversionError, LibraryError, ModelLoadError
from elysia_chat.llm.library.add import add
from elysia_chat.llm.library.contents import entries, find_base, locked, remove
from elysia_chat.llm.library.describe import AdapterFacts, ModelFacts, describe
from elysia_chat.llm.library.record import sha256_of
from elysia_chat.llm.loading import load_model
from tests.llm import tiny
from tests.llm.internlm2.oracle import TINY, InternLM2
from tests.llm.internlm2.test_adapter import pickle_weights, train_like
from tests.llm.internlm2.test_convert import published
from tests.llm.test_loading import save_adapter

IDS = torch.tensor([list(range(3, 30))])


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """InternLM2 as it is published; the adapters of `train_like` call it so."""
    return published(tmp_path / "internlm2-chat-tiny")


class TestModels:
    def test_internlm2_is_converted(self, source: Path):
        entry = add(str(source))
        assert entry.record is not None
        assert (entry.name, entry.record.recipe, entry.record.source) == (source.name, "internlm2", str(source))
        model, tokenizer = load_model(entry.name, None, "float32", "cpu")
        with torch.no_grad():
            assert torch.allclose(model(IDS).logits, InternLM2(vocab_size=600)(IDS), atol=1e-5)
        assert tokenizer.chat_template
        assert not list(entry.folder.glob("*.py"))

    def test_the_record_tells_what_is_there(self, source: Path):
        entry = add(str(source), name="mine")
        assert entry.record is not None
        there = {path.name for path in entry.folder.iterdir()} - {"added.json"}
        assert set(entry.record.files) == there
        for name, told in entry.record.files.items():
            path = entry.folder / name
            assert told == {"bytes": path.stat().st_size, "sha256": sha256_of(path)}

    def test_another_architecture_is_linked_as_it_is(self, tmp_path: Path):
        folder = tiny.save(tmp_path / "tiny")
        (folder / "modeling.py").write_text("raise SystemExit('this code must not run')")
        entry = add(str(folder))
        assert entry.record is not None
        assert entry.record.recipe == "none"
        assert (entry.folder / "model.safetensors").samefile(folder / "model.safetensors")
        assert not (entry.folder / "config.json").samefile(folder / "config.json")
        assert not (entry.folder / "modeling.py").exists()
        assert torch.equal(load_model("tiny", None, "float32", "cpu")[0](IDS).logits, tiny.shared_model()(IDS).logits)

    def test_where_links_cannot_be_made_weights_are_copied(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
        folder = tiny.save(tmp_path / "tiny")
        entry = add(str(folder))
        assert not (entry.folder / "model.safetensors").samefile(folder / "model.safetensors")
        assert (entry.folder / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()

    def test_several_shards_and_pickled_ones(self, tmp_path: Path):
        from tests.llm.internlm2 import oracle, pieces

        made = InternLM2(vocab_size=600)
        folder = oracle.save(made, tmp_path / "sharded", shards=3, pickled=True)
        pieces.train(folder / "tokenizer.model")
        add(str(folder))
        with torch.no_grad():
            assert torch.allclose(load_model("sharded", None, "float32", "cpu")[0](IDS).logits, made(IDS), atol=1e-5)


class TestRefused:
    def refuse(self, folder: Path, error: type[Exception], match: str, **options: Any) -> None:
        before = [entry.name for entry in entries()]
        with pytest.raises(error, match=match) as caught:
            add(str(folder), **options)
        assert "\n" not in str(caught.value)
        assert [entry.name for entry in entries()] == before
        left = [path.name for path in models_dir().iterdir()] if models_dir().is_dir() else []
        assert [name for name in left if not name.endswith(".lock")] == before

    def test_a_shard_that_is_cut_short(self, source: Path):
        path = source / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-10])
        self.refuse(source, ModelLoadError, "cut off or damaged")

    def test_a_shard_of_another_architecture_that_is_cut_short(self, tmp_path: Path):
        folder = tiny.save(tmp_path / "tiny")
        (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-10])
        self.refuse(folder, ModelLoadError, "cut off or damaged")

    @pytest.mark.parametrize(
        ("file", "error", "message"),
        [
            ("config.json", LibraryError, r"neither config\.json nor adapter_config\.json"),
            ("tokenizer.model", ConversionError, "holds no tokenizer"),
            ("model.safetensors", LibraryError, "no weights in safetensors"),
        ],
    )
    def test_a_missing_file(self, source: Path, file: str, error: type[Exception], message: str):
        (source / file).unlink()
        self.refuse(source, error, message)

    def test_a_damaged_config(self, source: Path):
        (source / "config.json").write_text("{")
        self.refuse(source, LibraryError, r"config\.json is damaged")

    def test_a_lost_shard(self, source: Path):
        index = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
        (source / "model.safetensors.index.json").write_text(json.dumps(index))
        self.refuse(source, LibraryError, r"incomplete: model-2\.safetensors is missing")

    def test_pickled_weights_of_another_architecture(self, tmp_path: Path):
        folder = tiny.save(tmp_path / "tiny")
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        self.refuse(folder, LibraryError, r"no weights in safetensors but pickled ones \(\.bin\), which can run code")

    def test_no_tokenizer(self, tmp_path: Path):
        folder = tiny.save(tmp_path / "tiny")
        for path in folder.glob("tokenizer*"):
            path.unlink()
        self.refuse(folder, ModelLoadError, "holds no tokenizer")

    @pytest.mark.parametrize("name", ["../out", "a b", ".hidden", "gemma-3-270m"])
    def test_names_that_cannot_be(self, source: Path, name: str):
        self.refuse(source, LibraryError, "--name", name=name)

    def test_a_name_that_is_taken(self, source: Path):
        add(str(source))
        self.refuse(source, LibraryError, "There is a 'internlm2-chat-tiny' already.*models remove internlm2-chat-tiny")

    def test_a_name_that_another_process_works_on(self, source: Path):
        with locked(source.name), pytest.raises(LibraryError, match="Another process is working on"):
            add(str(source))


class TestAdapters:
    @pytest.fixture
    def base(self, source: Path) -> str:
        return add(str(source)).name

    @pytest.fixture
    def trained(self, tmp_path: Path) -> torch.Tensor:
        """An adapter on InternLM2's own names in `tmp_path/elysia`; the logits of model and adapter."""
        with torch.no_grad():
            return train_like(tmp_path / "elysia", vocab_size=600)(IDS)

    @pytest.mark.parametrize("pickled", [False, True])
    def test_one_of_internlm2_is_mapped_and_used_by_its_name(
        self, base: str, trained: torch.Tensor, tmp_path: Path, pickled: bool
    ):
        if pickled:
            pickle_weights(tmp_path / "elysia")
        entry = add(str(tmp_path / "elysia"))
        assert entry.record is not None
        assert (entry.kind, entry.record.recipe, entry.record.base) == ("adapter", "internlm2", base)
        model, _ = load_model(base, entry.folder, "float32", "cpu")
        assert torch.allclose(model(IDS).logits, trained, atol=1e-4)

    @pytest.mark.parametrize("pickled", [False, True])
    def test_it_is_mapped_on_the_fly_too(self, base: str, trained: torch.Tensor, tmp_path: Path, pickled: bool):
        if pickled:
            pickle_weights(tmp_path / "elysia")
        model, _ = load_model(base, tmp_path / "elysia", "float32", "cpu")
        assert torch.allclose(model(IDS).logits, trained, atol=1e-4)

    def test_the_name_of_the_base_may_be_that_at_its_source(self, source: Path, trained: torch.Tensor, tmp_path: Path):
        add(str(source), name="mine")
        assert load_model("mine", tmp_path / "elysia", "float32", "cpu")
        found = find_base("someone/internlm2-chat-tiny")
        assert found is not None
        assert found.name == "mine"
        assert describe(add(str(tmp_path / "elysia")).name).base == "mine"  # type: ignore[union-attr]

    def test_its_base_has_to_be_here(self, trained: torch.Tensor, tmp_path: Path):
        with pytest.raises(LibraryError, match="on 'internlm/internlm2-chat-tiny', which is not here: add that"):
            add(str(tmp_path / "elysia"))

    def test_a_base_that_it_does_not_name(self, base: str, trained: torch.Tensor, tmp_path: Path):
        path = tmp_path / "elysia" / "adapter_config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), "base_model_name_or_path": None}))
        with pytest.raises(LibraryError, match="a model that it does not name, or say with --base"):
            add(str(tmp_path / "elysia"))
        assert add(str(tmp_path / "elysia"), base=base).kind == "adapter"

    def test_of_another_model(self, trained: torch.Tensor, tmp_path: Path):
        add(str(published(tmp_path / "internlm2-chat-tiny", num_key_value_heads=4)))
        with pytest.raises(ConversionError, match="belongs to another model"):
            add(str(tmp_path / "elysia"))

    def test_with_more_layers_than_the_model(self, trained: torch.Tensor, tmp_path: Path):
        add(str(published(tmp_path / "internlm2-chat-tiny", num_hidden_layers=1)))
        with pytest.raises(AdapterError, match=r"does not fit the model .*layers\.1"):
            add(str(tmp_path / "elysia"))

    def test_one_of_another_architecture_is_copied(self, tmp_path: Path):
        folder = tiny.save(tmp_path / "tiny")
        adapter = save_adapter(tmp_path / "mine", folder)
        expected = load_model(str(folder), adapter, "float32", "cpu")[0](IDS).logits
        add(str(folder))
        pickle_weights(adapter)
        entry = add(str(adapter))
        assert entry.record is not None
        assert entry.record.recipe == "pickled"
        assert not list(entry.folder.glob("*.bin"))
        assert torch.equal(load_model("tiny", entry.folder, "float32", "cpu")[0](IDS).logits, expected)


class TestDescribe:
    def test_a_model(self, source: Path):
        facts = describe(add(str(source)).name)
        assert isinstance(facts, ModelFacts)
        assert facts.parameters == sum(part.numel() for part in InternLM2(vocab_size=600).parameters())
        assert (facts.architecture, facts.dtype, facts.vocabulary) == ("llama", "float32", 600)
        assert (facts.context_tokens, facts.rope, facts.chat_template) == (TINY["max_position_embeddings"], None, True)
        assert [fit.format for fit in facts.fits] == ["float32", "bfloat16", "8bit", "4bit"]
        needs = [fit.bytes for fit in facts.fits]
        assert needs == sorted(needs, reverse=True)
        assert facts.fits[0].memory is True

    def test_scaled_rope(self, tmp_path: Path):
        scaled = published(tmp_path / "long", rope_scaling={"type": "dynamic", "factor": 2.5})
        assert describe(add(str(scaled)).name).rope == "dynamic ×2.5"  # type: ignore[union-attr]

    def test_an_adapter_in_a_folder(self, tmp_path: Path):
        train_like(tmp_path / "elysia", targets=["wqkv", "wo"])
        facts = describe(str(tmp_path / "elysia"))
        assert isinstance(facts, AdapterFacts)
        assert (facts.rank, facts.alpha, facts.targets) == (4, 8, ("wo", "wqkv"))

    def test_what_is_not_there(self, tmp_path: Path):
        with pytest.raises(LibraryError, match=r"There is no model or adapter 'nothing' in .*; there: none"):
            describe("nothing")
        with pytest.raises(LibraryError, match="holds neither a model nor an adapter"):
            describe(str(tmp_path))

    def test_a_published_one_is_told_to_be_added(self, source: Path):
        with pytest.raises(ModelLoadError, match=r"InternLM2 as it was published: bring it in with: .* models add"):
            describe(str(source))


def test_what_was_removed_is_gone(source: Path):
    add(str(source))
    assert remove(source.name).name == source.name
    assert entries() == []
    assert source.is_dir()
    with pytest.raises(LibraryError, match="no model or adapter 'internlm2-chat-tiny'"):
        remove(source.name)


def test_removing_a_linked_model_leaves_its_source(tmp_path: Path):
    folder = tiny.save(tmp_path / "tiny")
    remove(add(str(folder)).name)
    assert (folder / "model.safetensors").is_file()
