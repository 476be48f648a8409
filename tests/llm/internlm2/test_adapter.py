"""A LoRA trained on InternLM2's names computes the same on the converted model."""

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from elysia_chat.llm.adapter_files import read_shapes
from elysia_chat.llm.errors import AdapterError, ConversionError
from elysia_chat.llm.internlm2.adapter import convert_adapter, is_for_internlm2
from elysia_chat.llm.internlm2.config import heads_of

from .oracle import TINY, InternLM2, save
from .test_weights import IDS, converted

ALL = ["wqkv", "wo", "w1", "w2", "w3"]
BASE = "internlm/internlm2-chat-tiny"


def train_like(folder: Path, targets: Any = ALL, vocab_size: int = 400, **settings: Any) -> Any:
    """Save an adapter with random matrices, as xtuner would; return the model with it."""
    from peft import LoraConfig, get_peft_model

    made = InternLM2(vocab_size=vocab_size)
    options = {"r": 4, "lora_alpha": 8, "target_modules": targets, "init_lora_weights": False}
    with_adapter = get_peft_model(made, LoraConfig(**{**options, **settings}))
    torch.manual_seed(3)
    for name, parameter in with_adapter.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    with warnings.catch_warnings():
        # peft would look for the vocabulary of a base that it does not know.
        warnings.filterwarnings("ignore", "Could not find a config file")
        with_adapter.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": BASE}))
    return with_adapter.eval()


def pickle_weights(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    torch.save(load_file(path), folder / "adapter_model.bin")
    path.unlink()


def mapped(source: Path, tmp_path: Path) -> Path:
    target = tmp_path / "mapped"
    target.mkdir()
    convert_adapter(source, target, heads_of(TINY))
    return target


def on_llama(adapter: Path, tmp_path: Path) -> torch.Tensor:
    from peft import PeftModel

    model = converted(save(InternLM2(), tmp_path / "published"), tmp_path / "llama")
    with torch.no_grad():
        return PeftModel.from_pretrained(model, adapter).eval()(IDS).logits


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"targets": ["wqkv"]},
        {"targets": ["w1", "wo", "output"]},
        {"targets": r".*\.(wqkv|w2)"},
        {"layers_to_transform": [1], "layers_pattern": "layers"},
        {"targets": ["layers.0.attention.wqkv", "layers.1.feed_forward.w3"]},
        {"use_rslora": True},
        {"use_dora": True},
        {"rank_pattern": {"wqkv": 2}, "alpha_pattern": {"layers.1.attention.wqkv": 3, "wo": 16}},
        {"modules_to_save": ["output"]},
        {"targets": ["tok_embeddings", "wo"]},
    ],
    ids=str,
)
def test_the_mapped_adapter_computes_the_same(tmp_path: Path, settings: dict[str, Any]):
    with torch.no_grad():
        expected = train_like(tmp_path / "adapter", **settings)(IDS)
        plain = InternLM2()(IDS)
    assert is_for_internlm2(read_shapes(tmp_path / "adapter"))
    found = on_llama(mapped(tmp_path / "adapter", tmp_path), tmp_path)
    assert torch.allclose(found, expected, atol=2e-5, rtol=0)
    assert not torch.allclose(found, plain, atol=1e-2)


def test_pickled_weights_become_safetensors(tmp_path: Path):
    with torch.no_grad():
        expected = train_like(tmp_path / "adapter")(IDS)
    pickle_weights(tmp_path / "adapter")
    target = mapped(tmp_path / "adapter", tmp_path)
    assert sorted(path.name for path in target.iterdir()) == ["adapter_config.json", "adapter_model.safetensors"]
    assert torch.allclose(on_llama(target, tmp_path), expected, atol=2e-5, rtol=0)


def test_names_and_settings_of_the_result(tmp_path: Path):
    train_like(tmp_path / "adapter")
    assert is_for_internlm2(read_shapes(tmp_path / "adapter"))
    target = mapped(tmp_path / "adapter", tmp_path)
    assert not is_for_internlm2(read_shapes(target))
    config = json.loads((target / "adapter_config.json").read_text())
    seven = ["down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj"]
    assert (config["target_modules"], config["base_model_name_or_path"]) == (seven, BASE)


class TestRefused:
    @pytest.fixture
    def adapter(self, tmp_path: Path) -> Path:
        train_like(tmp_path / "adapter")
        return tmp_path / "adapter"

    def refuse(self, adapter: Path, error: type[Exception], match: str, heads: Any = None) -> None:
        target = adapter.parent / "target"
        target.mkdir()
        with pytest.raises(error, match=match) as caught:
            convert_adapter(adapter, target, heads or heads_of(TINY))
        assert "\n" not in str(caught.value)
        assert list(target.iterdir()) == []

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"bias": "all"}, "uses bias=all, which cannot be mapped"),
            ({"init_lora_weights": "pissa"}, "uses init_lora_weights=pissa"),
            ({"trainable_token_indices": [1]}, "uses trainable_token_indices"),
            ({"rank_pattern": {r"^layers\.\d.*wqkv": 2}}, "is no module name and cannot be mapped"),
            ({"peft_type": "IA3"}, "holds no LoRA adapter"),
        ],
    )
    def test_what_cannot_be_mapped(self, adapter: Path, changes: dict[str, Any], message: str):
        config = json.loads((adapter / "adapter_config.json").read_text())
        (adapter / "adapter_config.json").write_text(json.dumps({**config, **changes}))
        self.refuse(adapter, ConversionError if "IA3" not in changes.values() else AdapterError, message)

    def test_an_adapter_of_another_model(self, adapter: Path):
        heads = heads_of({**TINY, "num_key_value_heads": 4})
        self.refuse(adapter, ConversionError, "belongs to another model: .*wqkv.* rows are not those of", heads)

    def test_without_settings(self, adapter: Path):
        (adapter / "adapter_config.json").unlink()
        self.refuse(adapter, AdapterError, "is no adapter")

    def test_cut_short(self, adapter: Path):
        path = adapter / "adapter_model.safetensors"
        path.write_bytes(path.read_bytes()[:-20])
        self.refuse(adapter, AdapterError, "cut off or damaged: copy the adapter again")

    def test_without_weights(self, adapter: Path):
        save_file({}, adapter / "adapter_model.safetensors")
        self.refuse(adapter, AdapterError, "holds no weights")
