"""Models with random weights in the shape of real ones, and data to train them on: for speed, not for words."""

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from _internlm2 import INTERNLM2
from safetensors.torch import save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, trainers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from elysia_chat.llm.internlm2.tokenizer import CHAT_TEMPLATE

SHAPES: dict[str, dict[str, int]] = {
    **INTERNLM2,
    "tiny": {
        "vocab_size": 2000,
        "hidden_size": 128,
        "intermediate_size": 256,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    },
}
_SPECIAL = ("<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>")
_SPREAD = {"tiny": 0.1}
"""Of the weights; so large that a tiny model has something for an adapter to change, else as trained ones begin."""
_SHARD = 12
"""Layers in a file."""


def write_model(shape: str, folder: Path, dtype: torch.dtype) -> Path:
    """Write a Llama of a shape with random weights, and a tokenizer made of a persona's dialogues."""
    folder.mkdir(parents=True)
    config = LlamaConfig(
        **SHAPES[shape],
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=2,
        dtype=dtype,
        architectures=["LlamaForCausalLM"],
    )
    config.save_pretrained(folder)
    GenerationConfig(bos_token_id=1, eos_token_id=[2, 4], pad_token_id=2).save_pretrained(folder)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    torch.manual_seed(0)
    index: dict[str, str] = {}
    spread = _SPREAD.get(shape, 0.02)
    parts = _parts(dict(model.named_parameters()))
    for number, names in enumerate(parts, 1):
        name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        save_file(
            {key: _random(key, size, dtype, spread) for key, size in names.items()}, folder / name, {"format": "pt"}
        )
        index |= dict.fromkeys(names, name)
    content = {"metadata": {}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(content), encoding="utf-8")
    tokenizer().save_pretrained(folder)
    return folder


def _parts(parameters: dict[str, Any]) -> list[dict[str, torch.Size]]:
    found: dict[int, dict[str, torch.Size]] = {}
    for name, parameter in parameters.items():
        layer = name.partition(".layers.")[2].partition(".")[0]
        found.setdefault(int(layer) // _SHARD + 1 if layer else 0, {})[name] = parameter.shape
    return [found[place] for place in sorted(found)]


def _random(name: str, shape: torch.Size, dtype: torch.dtype, spread: float) -> torch.Tensor:
    if "norm" in name:
        return torch.ones(shape, dtype=dtype)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    return (torch.randn(shape, dtype=dtype, device=device) * spread).cpu()


def tokenizer(words: int = 2000) -> PreTrainedTokenizerFast:
    """Return a BPE tokenizer with byte fallback, of the kind that InternLM2 has."""
    inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    inner.normalizer = normalizers.Replace(" ", "▁")
    inner.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    raw = [f"<0x{value:02X}>" for value in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=words, special_tokens=[*_SPECIAL, *raw], show_progress=False)
    inner.train_from_iterator([answer for *_, answer in dialogues()], trainer)
    state = json.loads(inner.to_str())
    state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in set(raw)]
    inner = Tokenizer.from_str(json.dumps(state))
    inner.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in _SPECIAL])
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="</s>",
        unk_token="<unk>",
        chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )


def dialogues() -> list[tuple[str, str]]:
    """Return the questions and answers of Elysia's dialogues."""
    source = files("elysia_chat.kb").joinpath("personas", "elysia", "dialogues.jsonl")
    found = []
    for line in source.read_text(encoding="utf-8").splitlines():
        messages = json.loads(line)["messages"]
        found += [
            (asked["content"], answer["content"]) for asked, answer in zip(messages[::2], messages[1::2], strict=True)
        ]
    return found


def write_data(path: Path, count: int) -> Path:
    """Write so many examples, the dialogues over and over."""
    known = dialogues()
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            asked, answer = known[number % len(known)]
            record = {"messages": [{"role": "user", "content": asked}], "answer": answer}
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return path
