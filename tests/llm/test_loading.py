"""Model and adapter folders: what is taken, and what is refused with which words."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from elysia_chat.llm.adapter import check_adapter, merge_adapter
from elysia_chat.llm.errors import AdapterError, ModelLoadError
from elysia_chat.llm.hardware import choose_device, choose_dtype
from elysia_chat.llm.loading import check_folder, load_model

from . import tiny

PROMPT = torch.tensor([list(range(5, 40))])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save(tmp_path / "tiny")


def load(folder: Path, adapter: Path | None = None, dtype: str = "float32") -> Any:
    return load_model(str(folder), adapter, dtype, "cpu")[0]


def save_adapter(target: Path, base: Path, seed: int = 1, **changes: Any) -> Path:
    """Write an adapter whose two matrices are both random, so that it changes the model."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    model = load(base)
    model.config._name_or_path = str(base)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "down_proj"], "init_lora_weights": False}
    get_peft_model(model, LoraConfig(**{**settings, **changes})).save_pretrained(target)
    return target


class TestFolder:
    def test_a_whole_one_is_taken(self, folder: Path):
        check_folder(folder)
        assert torch.equal(load(folder)(PROMPT).logits, tiny.shared_model()(PROMPT).logits)

    def test_without_config(self, folder: Path):
        (folder / "config.json").unlink()
        with pytest.raises(ModelLoadError, match=r"is no model: its config\.json is missing or damaged"):
            load(folder)

    def test_with_a_config_of_something_else(self, folder: Path):
        (folder / "config.json").write_text("[]")
        with pytest.raises(ModelLoadError, match="names no model_type"):
            load(folder)

    def test_with_cut_off_weights(self, folder: Path):
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        with pytest.raises(ModelLoadError, match=r"model\.safetensors is missing, cut off or damaged"):
            load(folder)

    def test_with_a_lost_shard(self, folder: Path):
        (folder / "model.safetensors.index.json").write_text(
            json.dumps({"metadata": {}, "weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}})
        )
        with pytest.raises(ModelLoadError, match=r"model-2\.safetensors is missing"):
            load(folder)

    def test_pickled_weights_are_not_read(self, folder: Path):
        (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
        with pytest.raises(ModelLoadError, match=r"no safetensors weights.*pickled.*save them as safetensors"):
            load(folder)

    def test_with_a_weight_missing(self, folder: Path):
        """transformers fills what is missing with random numbers and goes on."""
        from safetensors.torch import load_file, save_file

        weights = load_file(folder / "model.safetensors")
        del weights["model.layers.3.mlp.up_proj.weight"]
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelLoadError, match=r"incomplete: model\.layers\.3\.mlp\.up_proj\.weight"):
            load(folder)

    def test_without_tokenizer(self, folder: Path):
        """transformers makes an empty tokenizer of the model's kind and goes on."""
        for file in folder.glob("tokenizer*"):
            file.unlink()
        with pytest.raises(ModelLoadError, match="holds no tokenizer"):
            load(folder)

    def test_of_an_architecture_that_needs_remote_code(self, folder: Path):
        config = json.loads((folder / "config.json").read_text())
        config |= {"model_type": "strange", "auto_map": {"AutoModelForCausalLM": "modeling.Strange"}}
        (folder / "config.json").write_text(json.dumps(config))
        (folder / "modeling.py").write_text("raise SystemExit('this code must not run')")
        with pytest.raises(ModelLoadError, match="Cannot load the model"):
            load(folder)


class TestAdapter:
    def test_it_is_merged_as_peft_computes_it(self, folder: Path, tmp_path: Path):
        from peft import PeftModel

        adapter = save_adapter(tmp_path / "adapter", folder)
        expected = PeftModel.from_pretrained(load(folder), adapter)(PROMPT).logits
        merged = load(folder, adapter)
        assert torch.allclose(merged(PROMPT).logits, expected, atol=1e-4)
        assert not torch.allclose(merged(PROMPT).logits, load(folder)(PROMPT).logits, atol=1e-2)
        assert not any("lora" in name for name, _ in merged.named_parameters())

    def test_half_precision_is_rounded_after_the_merge_and_buffers_stay(self, folder: Path, tmp_path: Path):
        """`model.to(bfloat16)` would also round RoPE's frequencies, which no loader does."""
        adapter = save_adapter(tmp_path / "adapter", folder)
        rounded = load(folder, adapter, "bfloat16")
        saved = load(tiny.save(tmp_path / "merged", load(folder, adapter)), dtype="bfloat16")
        assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
        assert torch.equal(rounded(PROMPT).logits, saved(PROMPT).logits)
        assert rounded.model.rotary_emb.full_attention_inv_freq.dtype == torch.float32

    def test_a_model_in_half_precision_is_merged_in_float32(self, folder: Path, tmp_path: Path):
        """Only what the adapter changes is taken to float32: a large model need not fit into memory twice."""
        half = tiny.save(tmp_path / "half" / "tiny", load(folder, dtype="bfloat16"))
        adapter = save_adapter(tmp_path / "adapter", half)
        in_float32 = load_model(str(half), None, "float32", "cpu")[0]
        expected = load(tiny.save(tmp_path / "merged", merge_adapter(adapter, in_float32)), dtype="bfloat16")
        assert torch.equal(load(half, adapter, "bfloat16")(PROMPT).logits, expected(PROMPT).logits)

    def test_of_a_base_with_another_name(self, folder: Path, tmp_path: Path):
        adapter = save_adapter(tmp_path / "adapter", folder)
        config = json.loads((adapter / "adapter_config.json").read_text())
        config["base_model_name_or_path"] = "someone/other-model"
        (adapter / "adapter_config.json").write_text(json.dumps(config))
        with pytest.raises(AdapterError, match="was trained on 'other-model', not on 'tiny'"):
            load(folder, adapter)

    def test_of_a_base_with_another_shape(self, folder: Path, tmp_path: Path):
        other = tiny.save(tmp_path / "other" / "tiny", tiny.model(intermediate_size=48))
        adapter = save_adapter(tmp_path / "adapter", other)
        with pytest.raises(AdapterError, match=r"does not fit the model tiny: .*down_proj has another shape"):
            load(folder, adapter)

    def test_of_a_base_with_more_layers(self, folder: Path, tmp_path: Path):
        """peft drops what finds no place, with a warning."""
        from safetensors.torch import load_file, save_file

        adapter = save_adapter(tmp_path / "adapter", folder)
        weights = load_file(adapter / "adapter_model.safetensors")
        first = {name: value for name, value in weights.items() if "layers.0" in name}
        extra = {name.replace("layers.0", "layers.9"): value.clone() for name, value in first.items()}
        save_file({**weights, **extra}, adapter / "adapter_model.safetensors")
        with pytest.raises(AdapterError, match=r"does not fit .*layers\.9"):
            load(folder, adapter)

    def test_the_name_is_compared_without_its_folder(self, folder: Path, tmp_path: Path):
        adapter = save_adapter(tmp_path / "adapter", folder)
        check_adapter(adapter, tiny.shared_model(), "someone/TINY")

    @pytest.mark.parametrize(
        ("file", "content", "message"),
        [
            ("adapter_config.json", None, "is no adapter: its adapter_config.json is missing"),
            ("adapter_config.json", b"{", "is missing or damaged"),
            ("adapter_config.json", b'{"peft_type": "IA3"}', "no LoRA adapter"),
            ("adapter_model.safetensors", None, r"adapter_model\.safetensors is missing"),
            ("adapter_model.safetensors", b"x" * 20, "cut off or damaged"),
        ],
    )
    def test_damaged_ones(self, folder: Path, tmp_path: Path, file: str, content: bytes | None, message: str):
        adapter = save_adapter(tmp_path / "adapter", folder)
        (adapter / file).unlink()
        if content is not None:
            (adapter / file).write_bytes(content)
        with pytest.raises(AdapterError, match=message):
            load(folder, adapter)


class TestHardware:
    def test_a_device_that_is_not_here_is_told(self):
        with pytest.raises(ModelLoadError, match="no device 'abacus'"):
            choose_device("abacus")
        if not torch.cuda.is_available():
            with pytest.raises(ModelLoadError, match="no device 'cuda:7'"):
                choose_device("cuda:7")

    def test_bfloat16_is_taken_where_the_processor_computes_with_it(self, monkeypatch: pytest.MonkeyPatch):
        cpu = torch.device("cpu")
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
        assert choose_dtype("auto", cpu) == torch.bfloat16
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
        assert choose_dtype("auto", cpu) == torch.float32
        assert choose_dtype("float16", cpu) == torch.float16
