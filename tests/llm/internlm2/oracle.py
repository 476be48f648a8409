"""InternLM2 written down from its published architecture: what the conversion is held against.

Plain torch, one function for each step, nothing of transformers. The parts have the published names.
"""

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

TINY: dict[str, Any] = {
    "architectures": ["InternLM2ForCausalLM"],
    "auto_map": {"AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM"},
    "model_type": "internlm2",
    "vocab_size": 400,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "hidden_act": "silu",
    "max_position_embeddings": 32,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "rope_scaling": None,
    "bias": False,
    "tie_word_embeddings": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "torch_dtype": "float32",
}


class Norm(nn.Module):
    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)


def rotation(config: dict[str, Any], length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines, (length, head size), scaled as the configuration says."""
    size = config["hidden_size"] // config["num_attention_heads"]
    base, positions = config["rope_theta"], torch.arange(length).float()
    scaling, longest = config["rope_scaling"] or {}, config["max_position_embeddings"]
    if scaling.get("type") == "linear":
        positions = positions / scaling["factor"]
    if scaling.get("type") == "dynamic" and length > longest:
        factor = scaling["factor"]
        base = base * (factor * length / longest - (factor - 1)) ** (size / (size - 2))
    angles = torch.outer(positions, base ** -(torch.arange(0, size, 2).float() / size))
    return torch.cat([angles, angles], -1).cos(), torch.cat([angles, angles], -1).sin()


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    left, right = x.chunk(2, -1)
    return x * cos + torch.cat([-right, left], -1) * sin


class Attention(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.heads, self.keys = config["num_attention_heads"], config.get("num_key_value_heads") or 0
        self.keys = self.keys or self.heads
        width = config["hidden_size"]
        self.size = width // self.heads
        self.wqkv = nn.Linear(width, (self.heads + 2 * self.keys) * self.size, bias=config["bias"])
        self.wo = nn.Linear(width, width, bias=config["bias"])
        self.config = config

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, length, _ = x.shape
        # The rows of wqkv come key head by key head: its queries, the key, the value.
        packed = self.wqkv(x).view(rows, length, self.keys, -1, self.size)
        query = packed[..., :-2, :].reshape(rows, length, self.heads, self.size).transpose(1, 2)
        key, value = packed[..., -2, :].transpose(1, 2), packed[..., -1, :].transpose(1, 2)
        cos, sin = rotation(self.config, length)
        query, key = rotate(query, cos, sin), rotate(key, cos, sin)
        key, value = (part.repeat_interleave(self.heads // self.keys, dim=1) for part in (key, value))
        scores = query @ key.transpose(-1, -2) / math.sqrt(self.size)
        later = torch.ones(length, length, dtype=torch.bool).triu(1)
        mixed = scores.masked_fill(later, -math.inf).softmax(-1) @ value
        return self.wo(mixed.transpose(1, 2).reshape(rows, length, -1))


class FeedForward(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        width, inner = config["hidden_size"], config["intermediate_size"]
        self.w1, self.w3 = nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False)
        self.w2 = nn.Linear(inner, width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.w2(nn.functional.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(config), FeedForward(config)
        self.attention_norm = Norm(config["hidden_size"], config["rms_norm_eps"])
        self.ffn_norm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.feed_forward(self.ffn_norm(x))


class Body(nn.Module):
    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        self.tok_embeddings = nn.Embedding(config["vocab_size"], config["hidden_size"])
        self.layers = nn.ModuleList(Layer(config) for _ in range(config["num_hidden_layers"]))
        self.norm = Norm(config["hidden_size"], config["rms_norm_eps"])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.tok_embeddings(ids)
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)


class InternLM2(nn.Module):
    """Token ids (rows, length) to logits (rows, length, vocabulary)."""

    def __init__(self, **changes: Any) -> None:
        super().__init__()
        self.settings = {**TINY, **changes}
        torch.manual_seed(0)
        self.model = Body(self.settings)
        self.output = nn.Linear(self.settings["hidden_size"], self.settings["vocab_size"], bias=False)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.3)
        if self.settings["tie_word_embeddings"]:
            self.output.weight = self.model.tok_embeddings.weight

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.output(self.model(input_ids))

    @torch.no_grad()
    def greedy(self, ids: torch.Tensor, count: int) -> torch.Tensor:
        for _ in range(count):
            ids = torch.cat([ids, self(ids)[:, -1:].argmax(-1)], dim=1)
        return ids


def save(made: InternLM2, folder: Path, *, shards: int = 1, pickled: bool = False) -> Path:
    """Write model and configuration as they are published, without a tokenizer."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(made.settings))
    tensors = {name: tensor.detach().clone() for name, tensor in made.state_dict().items()}
    if made.settings["tie_word_embeddings"]:
        del tensors["output.weight"]
    stem, end = ("pytorch_model", ".bin") if pickled else ("model", ".safetensors")
    places = {}
    for number in range(shards):
        name = f"{stem}{end}" if shards == 1 else f"{stem}-{number + 1:05d}-of-{shards:05d}{end}"
        part = dict(list(tensors.items())[number::shards])
        places.update(dict.fromkeys(part, name))
        if pickled:
            torch.save(part, folder / name)
        else:
            save_file(part, folder / name, {"format": "pt"})
    if shards > 1:
        (folder / f"{stem}{end}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return folder
