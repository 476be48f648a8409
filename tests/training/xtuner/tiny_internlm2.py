"""A tiny InternLM2 with random weights in the form in which the models were published."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from tests.training.tiny_models import tiny_tokenizer

CONFIG: dict[str, Any] = {
    "architectures": ["InternLM2ForCausalLM"],
    # As published: a folder of ours must never follow it.
    "auto_map": {
        "AutoConfig": "configuration_internlm2.InternLM2Config",
        "AutoModelForCausalLM": "modeling_internlm2.InternLM2ForCausalLM",
    },
    "model_type": "internlm2",
    "bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 64,
    "intermediate_size": 128,
    "max_position_embeddings": 512,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {"type": "dynamic", "factor": 2.0},
    "rope_theta": 1000000,
    "tie_word_embeddings": False,
    "torch_dtype": "float32",
    "use_cache": True,
    "vocab_size": 480,
}


def save_internlm2(folder: Path, **changes: Any) -> Path:
    """Write configuration, weights in safetensors, and tokenizer."""
    config = {**CONFIG, **changes}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    # Code that a loader with trust_remote_code would run.
    for name in ("configuration_internlm2", "modeling_internlm2"):
        (folder / f"{name}.py").write_text("raise SystemExit('remote code was run')\n", encoding="utf-8")
    save_file(_weights(config), folder / "model.safetensors", {"format": "pt"})
    tokenizer = tiny_tokenizer()
    tokenizer.save_pretrained(folder)
    return folder


def _weights(config: dict[str, Any]) -> dict[str, torch.Tensor]:
    torch.manual_seed(3)
    width, inner = config["hidden_size"], config["intermediate_size"]
    heads, keys = config["num_attention_heads"], config["num_key_value_heads"]
    rows = (heads + 2 * keys) * (width // heads)
    shapes = {
        "model.tok_embeddings.weight": (config["vocab_size"], width),
        "output.weight": (config["vocab_size"], width),
    }
    norms = ["model.norm.weight"]
    for layer in range(config["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        shapes |= {
            f"{at}.attention.wqkv.weight": (rows, width),
            f"{at}.attention.wo.weight": (width, width),
            f"{at}.feed_forward.w1.weight": (inner, width),
            f"{at}.feed_forward.w3.weight": (inner, width),
            f"{at}.feed_forward.w2.weight": (width, inner),
        }
        norms += [f"{at}.attention_norm.weight", f"{at}.ffn_norm.weight"]
    found = {name: torch.randn(shape) * 0.1 for name, shape in shapes.items()}
    return found | {name: 1 + 0.1 * torch.randn(width) for name in norms}
