"""GGUF files: what is in them equals the folder they were made from, and llama.cpp computes the same with them."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from elysia_chat.llm import gguf as gguf_module
from elysia_chat.llm.errors import GgufError, ModelLoadError
from elysia_chat.llm.gguf import export_gguf
from elysia_chat.llm.gguf_tokenizer import plain_template
from tests.training.tiny_models import CHAT_TEMPLATE, GEMMA_LAYERS, TEXTS, save_model, tiny_gemma, tiny_llama

PROMPT = [1, 40, 301, 330, 270, 12, 400]
MAKERS: dict[str, Any] = {
    "llama": tiny_llama,
    "internlm2": lambda: tiny_llama(
        attention_bias=True, rope_parameters={"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6}
    ),
    "linear": lambda: tiny_llama(rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}),
    "tied": lambda: tiny_llama(tie_word_embeddings=True),
    "gemma3": lambda: tiny_gemma(**GEMMA_LAYERS),
}
# Speaks to llama.cpp in a process of its own: a crash there is a failed test, not a dead test run.
ASK = """
import json, sys, urllib.request, xllamacpp
path, texts, prompt = sys.argv[1], json.loads(sys.argv[2]), json.loads(sys.argv[3])
settings = xllamacpp.CommonParams()
settings.model.path, settings.n_ctx, settings.n_parallel, settings.warmup = path, 256, 1, False
settings.cpuparams.n_threads = 1
server = xllamacpp.Server(settings)
def post(where, body):
    request = urllib.request.Request(server.listening_address + where, json.dumps(body).encode(),
                                     {"content-type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)
print(json.dumps({
    "tokens": [post("/tokenize", {"content": t, "add_special": False, "parse_special": True})["tokens"] for t in texts],
    "answer": post("/completion",
                   {"prompt": prompt, "n_predict": 12, "temperature": 0, "return_tokens": True})["tokens"],
    "prompt": post("/apply-template", {"messages": [{"role": "user", "content": "你是谁"}]})["prompt"],
}), flush=True)
"""


def ask_llama_cpp(path: Path, texts: list[str]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(path), json.dumps(texts), json.dumps(PROMPT)],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def greedy(folder: Path) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    written = model.generate(
        torch.tensor([PROMPT]), attention_mask=torch.ones(1, len(PROMPT)), max_new_tokens=12, do_sample=False
    )
    return [int(token) for token in written[0, len(PROMPT) :]]


@pytest.mark.parametrize("name", MAKERS)
def test_llama_cpp_writes_the_same_and_reads_text_the_same(name: str, tmp_path: Path) -> None:
    folder = save_model(MAKERS[name](), tmp_path / "model")
    export_gguf(folder, tmp_path / "model.gguf", "f16")
    texts = [*TEXTS, "two  spaces\n\n and 😀 naïve", "<|im_start|>user\nhi<|im_end|>\n"]
    found = ask_llama_cpp(tmp_path / "model.gguf", texts)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    assert found["tokens"] == [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    messages = [{"role": "user", "content": "你是谁"}]
    wanted = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert found["prompt"] == wanted
    answer = greedy(folder)
    assert found["answer"][:4] == answer[:4]
    assert len(set(answer)) > 3, "a model that repeats one token would hide a wrong layout"


@pytest.mark.parametrize("kind", ["q8_0", "q4_0"])
def test_llama_cpp_loads_quantised_files(kind: Any, tmp_path: Path) -> None:
    folder = save_model(tiny_gemma(**GEMMA_LAYERS), tmp_path / "model")
    export_gguf(folder, tmp_path / "model.gguf", kind)
    assert len(ask_llama_cpp(tmp_path / "model.gguf", ["a"])["answer"]) > 0


@pytest.mark.parametrize("name", ["llama", "gemma3"])
@pytest.mark.parametrize(("kind", "largest"), [("f16", 1e-3), ("q8_0", 0.01), ("q4_0", 0.15)])
def test_weights_are_those_of_the_folder(name: str, kind: Any, largest: float, tmp_path: Path) -> None:
    """Read back by transformers, which undoes the layout: relative error of each weight matrix."""
    folder = save_model(MAKERS[name](), tmp_path / "model")
    report = export_gguf(folder, tmp_path / "model.gguf", kind)
    reader = gguf.GGUFReader(report.path)
    model = AutoModelForCausalLM.from_pretrained(folder)
    up = next(tensor for tensor in reader.tensors if tensor.name == "blk.1.ffn_up.weight")
    wanted = model.model.layers[1].mlp.up_proj.weight.detach().numpy()
    got = gguf.quants.dequantize(up.data, up.tensor_type)
    error = np.abs(got - wanted).max() / np.abs(wanted).max()
    assert error < largest
    assert report.tensors == len(reader.tensors)
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["token_embd.weight"] == {"f16": "F16", "q8_0": "Q8_0", "q4_0": "Q8_0"}[kind]
    assert kinds["output_norm.weight"] == "F32"


def test_a_row_that_does_not_divide_stays_in_16_bits(tmp_path: Path) -> None:
    folder = save_model(tiny_llama(intermediate_size=100), tmp_path / "model")
    export_gguf(folder, tmp_path / "model.gguf", "q4_0")
    kinds = {t.name: t.tensor_type.name for t in gguf.GGUFReader(tmp_path / "model.gguf").tensors}
    assert (kinds["blk.0.ffn_down.weight"], kinds["blk.0.ffn_up.weight"]) == ("F16", "Q4_0")


def test_the_template_loses_the_tags_of_transformers_alone() -> None:
    from jinja2 import Environment

    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    written = Environment().from_string(plain_template(CHAT_TEMPLATE)).render(messages=messages, bos_token="<s>")
    assert written == "<s><|im_start|>user\na<|im_end|>\n<|im_start|>assistant\nb<|im_end|>\n"


class TestBadInput:
    def test_an_unknown_architecture(self, tmp_path: Path) -> None:
        folder = save_model(tiny_llama(), tmp_path / "model")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "model_type": "qwen3"}))
        with pytest.raises(GgufError, match="type qwen3"):
            export_gguf(folder, tmp_path / "model.gguf")

    def test_gemma_with_layers_in_another_order(self, tmp_path: Path) -> None:
        folder = save_model(tiny_gemma(), tmp_path / "model")
        with pytest.raises(GgufError, match="gemma3_text with these layers"):
            export_gguf(folder, tmp_path / "model.gguf")

    def test_a_tokenizer_of_another_kind(self, tmp_path: Path) -> None:
        folder = save_model(tiny_llama(), tmp_path / "model")
        state = json.loads((folder / "tokenizer.json").read_text())
        state["model"]["byte_fallback"] = False
        (folder / "tokenizer.json").write_text(json.dumps(state))
        with pytest.raises(GgufError, match="not sentencepiece's"):
            export_gguf(folder, tmp_path / "model.gguf")

    def test_a_model_that_was_cut_short(self, tmp_path: Path) -> None:
        folder = save_model(tiny_llama(), tmp_path / "model")
        weights = folder / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-10])
        with pytest.raises(ModelLoadError, match="cut off"):
            export_gguf(folder, tmp_path / "model.gguf")

    def test_a_file_that_exists(self, tmp_path: Path) -> None:
        folder = save_model(tiny_llama(), tmp_path / "model")
        (tmp_path / "model.gguf").write_text("precious")
        with pytest.raises(GgufError, match="exists already"):
            export_gguf(folder, tmp_path / "model.gguf")

    def test_a_disk_that_fills_up_leaves_the_old_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = save_model(tiny_llama(), tmp_path / "model")
        (tmp_path / "model.gguf").write_text("precious")

        def full(*_arguments: Any) -> Any:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(gguf_module, "_encode", full)
        with pytest.raises(GgufError, match="the disk is full"):
            export_gguf(folder, tmp_path / "model.gguf", overwrite=True)
        assert (tmp_path / "model.gguf").read_text() == "precious"
        assert {path.name for path in tmp_path.iterdir()} >= {"model", "model.gguf"}
        assert not (tmp_path / ".model.gguf.part").exists()

    def test_a_weight_too_large_for_16_bits(self, tmp_path: Path) -> None:
        model = tiny_llama()
        with torch.no_grad():
            model.lm_head.weight[0, 0] = 1e6
        folder = save_model(model, tmp_path / "model")
        with pytest.raises(GgufError, match="choose q8_0"):
            export_gguf(folder, tmp_path / "model.gguf", "f16")
