"""Where a model goes, and what is said where it fits nowhere; and weights in 8 and 4 bits."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch

from elysia_chat.llm import hardware
from elysia_chat.llm.capacity import Size, size_of
from elysia_chat.llm.errors import ModelLoadError
from elysia_chat.llm.hardware import GpuMemory, choose_placement
from elysia_chat.llm.loading import load_model
from elysia_chat.llm.quantization import check_quantization, quantization_config
from tests.training import tiny_models

GB = 1_000_000_000
# InternLM2-7B: 7.74 billion parameters, of which 6.98 in layers that are quantised, 32 layers, 8 key heads of 128.
SEVEN = Size(7_737_708_544, 6_979_321_856, 15_475_417_088, {"bfloat16": 7_737_708_544}, 2 * 32 * 8 * 128 * 2)


def gpus(monkeypatch: pytest.MonkeyPatch, *free: float) -> None:
    """Let this machine have GPUs with so many GB free."""
    found = [GpuMemory(index, "GPU", int(room * GB), 100 * GB) for index, room in enumerate(free)]
    monkeypatch.setattr(hardware, "gpu_memory", lambda: found)
    monkeypatch.setattr(hardware, "choose_device", lambda name: torch.device("cuda" if name == "auto" else name))


def place(device: str = "auto", quantization: Any = "none", size: Size | None = SEVEN) -> Any:
    return choose_placement("chat-7b", device, "bfloat16", quantization, size)


class TestPlacement:
    def test_one_gpu_with_room(self, monkeypatch: pytest.MonkeyPatch):
        gpus(monkeypatch, 24)
        assert place().device_map == {"": torch.device("cuda", 0)}

    def test_the_first_with_room(self, monkeypatch: pytest.MonkeyPatch):
        gpus(monkeypatch, 4, 24, 40)
        assert place().device == torch.device("cuda", 1)

    def test_several_where_one_is_too_small(self, monkeypatch: pytest.MonkeyPatch):
        gpus(monkeypatch, 12, 10)
        found = place()
        assert (found.device_map, found.max_memory) == ("balanced", {0: int(10.8 * GB), 1: 9 * GB})

    def test_one_that_was_named_is_not_left(self, monkeypatch: pytest.MonkeyPatch):
        gpus(monkeypatch, 24, 8)
        with pytest.raises(ModelLoadError) as caught:
            place("cuda:1")
        assert str(caught.value) == (
            "chat-7b needs about 16.7 GB of GPU memory in bfloat16, and 8.0 GB are free: set model.device=auto "
            "(spreads it over 2 GPUs), model.quantization=4bit (6.4 GB), model.device=cpu, or a smaller model."
        )

    @pytest.mark.parametrize(
        ("free", "quantization", "message"),
        [
            ((12,), "none", r"quantization=8bit \(9\.8 GB\), model\.quantization=4bit \(6\.4 GB\), model\.device=cpu"),
            ((8,), "none", r"8\.0 GB are free: set model\.quantization=4bit \(6\.4 GB\), model\.device=cpu"),
            ((3,), "4bit", r"in 4 bits, and 3\.0 GB are free: set model\.device=cpu, or a smaller model"),
            ((4, 3), "none", r"4\.0 GB are free on the emptiest of 2 GPUs: set model\.quantization=4bit"),
        ],
    )
    def test_what_would_help(
        self, monkeypatch: pytest.MonkeyPatch, free: tuple[float, ...], quantization: str, message: str
    ):
        gpus(monkeypatch, *free)
        with pytest.raises(ModelLoadError, match=message):
            place(quantization=quantization)

    def test_a_size_that_is_not_known_yet(self, monkeypatch: pytest.MonkeyPatch):
        gpus(monkeypatch, 1)
        assert place(size=None).device_map == {"": torch.device("cuda")}

    def test_the_cpu(self):
        found = choose_placement("m", "cpu", "float32", "none", SEVEN)
        assert (found.device, found.device_map) == (torch.device("cpu"), None)


class TestSize:
    def test_what_is_reckoned(self):
        assert SEVEN.weights_in("bfloat16") == SEVEN.bytes
        assert SEVEN.weights_in("float32") == 2 * SEVEN.bytes
        # Measured on a GPU: 4.8 GiB of weights in NF4.
        assert SEVEN.weights_in("bfloat16", "4bit") / 2**30 == pytest.approx(4.8, abs=0.1)
        assert SEVEN.needed("bfloat16") - SEVEN.bytes == 4096 * 131072 + 700_000_000

    def test_of_a_folder(self, tmp_path: Path):
        model = tiny_models.tiny_llama()
        size = size_of(tiny_models.save_model(model, tmp_path / "tiny"))
        parts = dict(model.named_parameters())
        assert size.parameters == sum(part.numel() for part in parts.values())
        assert size.quantisable == sum(part.numel() for name, part in parts.items() if "_proj" in name)
        assert (size.dtype, size.kv_bytes) == ("float32", 2 * 2 * 2 * 16 * 2)


class TestQuantization:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tiny_models.save_model(tiny_models.tiny_llama(hidden_size=128), tmp_path / "tiny")

    def test_it_needs_a_gpu_or_the_cpu_by_name(self):
        cpu = torch.device("cpu")
        with pytest.raises(ModelLoadError, match="quantization=4bit needs an NVIDIA GPU, and none is found"):
            check_quantization("4bit", "auto", cpu)
        check_quantization("4bit", "cpu", cpu)
        check_quantization("8bit", "auto", torch.device("cuda"))

    def test_it_needs_bitsandbytes(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
        with pytest.raises(ModelLoadError, match="quantization=8bit needs bitsandbytes: pip install"):
            check_quantization("8bit", "cpu", torch.device("cpu"))

    def test_nf4_with_double_quantisation(self):
        settings = quantization_config("4bit", torch.bfloat16)
        assert (settings.bnb_4bit_quant_type, settings.bnb_4bit_use_double_quant) == ("nf4", True)
        assert settings.bnb_4bit_compute_dtype == torch.bfloat16
        assert quantization_config("none", torch.float32) is None

    @pytest.mark.parametrize(("kind", "layer"), [("4bit", "Linear4bit"), ("8bit", "Linear8bitLt")])
    def test_the_weights_are_quantised(self, folder: Path, kind: Any, layer: str):
        pytest.importorskip("bitsandbytes")
        plain, tokenizer = load_model(str(folder), None, "float32", "cpu")
        small, _ = load_model(str(folder), None, "float32", "cpu", kind)
        kinds = {type(module).__name__ for name, module in small.named_modules() if name.endswith("_proj")}
        assert kinds == {layer}
        ids = tokenizer("The ferry is called the Quiet Wind.", return_tensors="pt").input_ids
        with torch.no_grad():
            near, exact = small(ids).logits, plain(ids).logits
        assert torch.nn.functional.cosine_similarity(near, exact, dim=-1).mean() > 0.9
        assert not torch.equal(near, exact)

    def test_an_adapter_stays_beside_quantised_weights(self, folder: Path, tmp_path: Path):
        pytest.importorskip("bitsandbytes")
        from peft import PeftModel

        adapter = tiny_models.save_adapter(folder, tmp_path / "adapter")
        model, tokenizer = load_model(str(folder), adapter, "float32", "cpu", "4bit")
        base, _ = load_model(str(folder), None, "float32", "cpu", "4bit")
        ids = tokenizer("The ferry", return_tensors="pt").input_ids
        plain, _ = load_model(str(folder), None, "float32", "cpu", "4bit")
        with torch.no_grad():
            expected = PeftModel.from_pretrained(base, adapter)(ids).logits
            assert torch.allclose(model(ids).logits, expected, atol=1e-5)
            assert not torch.allclose(plain(ids).logits, expected, atol=0.1)
        assert type(model).__name__ == "LlamaForCausalLM"

    def test_a_model_that_is_quantised_already(self, folder: Path):
        pytest.importorskip("bitsandbytes")
        load_model(str(folder), None, "float32", "cpu", "4bit")[0].save_pretrained(folder)
        with pytest.raises(ModelLoadError, match=r"is quantised already: set model\.quantization=none"):
            load_model(str(folder), None, "float32", "cpu", "4bit")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
class TestOnGpus:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        return tiny_models.save_model(tiny_models.tiny_llama(hidden_size=128), tmp_path / "tiny")

    @pytest.mark.parametrize("kind", ["none", "8bit", "4bit"])
    def test_it_computes_there_what_the_cpu_does(self, folder: Path, kind: Any):
        model, tokenizer = load_model(str(folder), None, "bfloat16", "auto", kind)
        exact, _ = load_model(str(folder), None, "float32", "cpu")
        ids = tokenizer("The ferry is called the Quiet Wind.", return_tensors="pt").input_ids
        assert {part.device.type for part in model.parameters()} == {"cuda"}
        with torch.no_grad():
            near = model(ids.to(model.device)).logits.float().cpu()
            assert torch.nn.functional.cosine_similarity(near, exact(ids).logits, dim=-1).mean() > 0.9

    @pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two NVIDIA GPUs")
    def test_a_model_too_large_for_one_is_spread(self, folder: Path, monkeypatch: pytest.MonkeyPatch):
        one, tokenizer = load_model(str(folder), None, "float32", "cuda:0")
        weights = size_of(folder).weights_in("float32")
        room = [GpuMemory(index, "GPU", int(weights * 0.8), 1) for index in range(2)]
        monkeypatch.setattr(hardware, "gpu_memory", lambda: room)
        several, _ = load_model(str(folder), None, "float32", "auto")
        assert len({part.device for part in several.parameters()}) == 2
        ids = tokenizer("The ferry", return_tensors="pt").input_ids.to("cuda:0")
        options: dict[str, Any] = {"max_new_tokens": 8, "do_sample": False}
        assert torch.equal(one.generate(ids, **options), several.generate(ids, **options))
