"""QLoRA of an InternLM2-7B shape within 8 GB: how many tokens fit into a step, and how fast they are.

    python benchmarks/qlora_memory.py [--budget-gb 8] [--tokens 512,1024,...] [--steps 8] [--json FILE]
    python benchmarks/qlora_memory.py --tiny          the same code on a CPU, with a tiny shape

The weights are random (NF4 with double quantisation, LoRA of rank 64 on all seven projections, gradient checkpointing,
bfloat16 under autocast); every position has a label, which is the worst case. Three ways are compared:

    plain   PEFT and bitsandbytes with transformers' own loss and torch's AdamW
    lean    the same with `elysia_chat.training.loss` and bitsandbytes' paged 8-bit AdamW
    packed  what a training run computes: the lean way with the mask that keeps packed examples apart

Each runs under a hard limit of the allocator, so what does not fit fails; the paged optimiser states lie outside the
allocator and are taken off the limit. Every length is a fresh measurement after two
warm-up steps. The context of the driver, some 0.5 GB, lies outside the limit, as it does in every such figure.
"""

import argparse
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", "expandable_segments:True")

import bitsandbytes
import torch
from _internlm2 import INTERNLM2
from bitsandbytes.nn import Linear4bit, Params4bit
from peft import LoraConfig, get_peft_model
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

from elysia_chat.training.bnb_guard import guard_bitsandbytes
from elysia_chat.training.loss import IGNORE, answer_loss
from elysia_chat.training.trainer import packed_loss

TOKENS = "256,512,768,1024,1536,2048,3072,4096,6144,8192"
SEVEN = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
WARM_UP = 2
SHAPES: dict[str, dict[str, int]] = {
    **INTERNLM2,
    "tiny": {
        "vocab_size": 1000,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    },
}


def random_nf4_model(shape: str, device: torch.device, compute: torch.dtype) -> LlamaForCausalLM:
    """Build the model layer by layer, so that it is never there in 16 bits."""
    config = LlamaConfig(**SHAPES[shape], rope_parameters={"rope_type": "default", "rope_theta": 1e6}, use_cache=False)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name != "lm_head":
            model.set_submodule(name, _random_nf4(module, device, compute))
        elif isinstance(module, LlamaRotaryEmbedding):
            model.set_submodule(name, LlamaRotaryEmbedding(config).to(device))
    for name, parameter in list(model.named_parameters()):
        if parameter.is_meta:
            owner, _, last = name.rpartition(".")
            ones = "norm" in name
            values = torch.ones(parameter.shape, dtype=compute, device=device)
            values = values if ones else values.normal_(std=0.02)
            setattr(model.get_submodule(owner), last, nn.Parameter(values, requires_grad=False))
    model.is_loaded_in_4bit = True
    return model


def _random_nf4(module: nn.Linear, device: torch.device, compute: torch.dtype) -> Linear4bit:
    layer = Linear4bit(
        module.in_features, module.out_features, bias=False, compute_dtype=compute, quant_type="nf4", device="meta"
    )
    values = torch.empty(module.weight.shape, dtype=compute, device=device).normal_(std=0.02)
    layer.weight = Params4bit(values, requires_grad=False, compress_statistics=True, quant_type="nf4", module=layer).to(
        device
    )
    return layer


def with_lora(model: LlamaForCausalLM, rank: int, dropout: float) -> Any:
    tuned = get_peft_model(
        model, LoraConfig(r=rank, lora_alpha=16, lora_dropout=dropout, target_modules=SEVEN, task_type="CAUSAL_LM")
    )
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    tuned.enable_input_require_grads()
    model.activation_checkpointing_enable({"use_reentrant": False})
    return tuned.train()


def plain_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    loss: torch.Tensor = model(**inputs).loss
    return loss


def lean_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    return answer_loss(model, inputs)[0]


def packed_run_loss(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    ids = inputs["input_ids"]
    nothing = torch.zeros_like(ids)
    following = nn.functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORE)
    positions = torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    batch = {"input_ids": ids, "segments": nothing, "parents": nothing, "position_ids": positions, "labels": following}
    return packed_loss(model, batch)


LOSSES: dict[str, Callable[[Any, dict[str, torch.Tensor]], torch.Tensor]] = {
    "plain": plain_loss,
    "lean": lean_loss,
    "packed": packed_run_loss,
}


def optimizer_of(way: str, parameters: list[nn.Parameter], device: torch.device) -> torch.optim.Optimizer:
    if way != "plain" and device.type == "cuda":
        return bitsandbytes.optim.PagedAdamW8bit(parameters, lr=2e-4)
    return torch.optim.AdamW(parameters, lr=2e-4, fused=device.type == "cuda")


def measure(way: str, model: Any, tokens: int, arguments: argparse.Namespace, device: torch.device) -> dict[str, Any]:
    """Train a few steps of one sequence of `tokens`; return speed and peak memory, or that it does not fit."""
    loss_of = LOSSES[way]
    row: dict[str, Any] = {"way": way, "tokens": tokens, "fits": True}
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer_of(way, parameters, device)
    ids = torch.randint(5, model.config.vocab_size, (1, tokens), device=device)
    inputs = {"input_ids": ids, "labels": ids.clone()}
    losses: list[torch.Tensor] = []
    began = 0.0
    try:
        for step in range(WARM_UP + arguments.steps):
            if step == WARM_UP:
                _synchronise(device)
                began = time.monotonic()
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = loss_of(model, inputs)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            losses.append(loss.detach())
            del loss
        _synchronise(device)
        row["tokens_per_s"] = round(tokens * arguments.steps / (time.monotonic() - began), 1)
        row["losses"] = [round(float(value), 4) for value in losses]
    except torch.OutOfMemoryError:
        row["fits"] = False
    if device.type == "cuda":
        row["peak_allocated_gb"] = round(torch.cuda.max_memory_allocated(device) / 1e9, 3)
        row["peak_reserved_gb"] = round(torch.cuda.max_memory_reserved(device) / 1e9, 3)
    return row


def paged_bytes(way: str, model: Any, device: torch.device) -> int:
    """Return the size of the optimiser states outside the allocator: two bytes a parameter, in managed memory."""
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    return 2 * trained if way != "plain" and device.type == "cuda" else 0


def limit_memory(limit: float, device: torch.device) -> None:
    if device.type == "cuda":
        whole = torch.cuda.get_device_properties(device).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit / whole), device)


def run(arguments: argparse.Namespace, device: torch.device) -> list[dict[str, Any]]:
    compute = torch.bfloat16 if device.type == "cuda" else torch.float32
    rows: list[dict[str, Any]] = []
    for way in arguments.ways.split(","):
        for tokens in map(int, arguments.tokens.split(",")):
            torch.manual_seed(0)
            if device.type == "cuda":
                torch.cuda.empty_cache()
                torch.cuda.reset_peak_memory_stats(device)
            model = with_lora(random_nf4_model(arguments.shape, device, compute), arguments.rank, arguments.dropout)
            paged = paged_bytes(way, model, device)
            limit_memory(arguments.budget_gb * 1e9 - paged, device)
            rows.append({**measure(way, model, tokens, arguments, device), "paged_gb": round(paged / 1e9, 3)})
            print(json.dumps(rows[-1]), flush=True)
            del model
            gc.collect()
            if not rows[-1]["fits"]:
                break
    return rows


def summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the best speed and the longest sequence of each way, and how much faster than the plain one they are."""
    fits = [row for row in rows if row["fits"]]
    fastest = {
        way: max((row for row in fits if row["way"] == way), key=lambda row: row["tokens_per_s"], default=None)
        for way in LOSSES
    }
    plain = fastest["plain"]
    return {
        "fastest": fastest,
        "longest": {way: max((row["tokens"] for row in fits if row["way"] == way), default=0) for way in LOSSES},
        **{
            f"{way}_over_plain": round(best["tokens_per_s"] / plain["tokens_per_s"], 3) if plain and best else None
            for way, best in fastest.items()
            if way != "plain"
        },
        "fits_2048": {way: any(row["way"] == way and row["tokens"] >= 2048 for row in fits) for way in LOSSES},
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Return the measurements as a Markdown table: tokens/s, and the peak in GB where a GPU counts it."""
    lines = ["| tokens | " + " | ".join(LOSSES) + " |", "| ---: |" + " ---: |" * len(LOSSES)]
    found = {(row["way"], row["tokens"]): row for row in rows}
    for tokens in sorted({row["tokens"] for row in rows}):
        cells = []
        for way in LOSSES:
            row = found.get((way, tokens))
            if row is None or not row["fits"]:
                cells.append("does not fit" if row or any(one == way for one, _ in found) else "")
                continue
            peak = row.get("peak_reserved_gb")
            cells.append(f"{row['tokens_per_s']:,.0f}" + (f" ({peak:.2f} GB)" if peak is not None else ""))
        lines.append(f"| {tokens:,} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=sorted(SHAPES), default="internlm2-7b")
    parser.add_argument("--tiny", action="store_true", help="a tiny shape on the CPU, to try the code")
    parser.add_argument("--budget-gb", type=float, default=8.0, help="limit of the allocator, in 10^9 bytes")
    parser.add_argument("--tokens", default=TOKENS, help="lengths of the one sequence of a step, ascending")
    parser.add_argument("--ways", default="plain,lean,packed")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if arguments.tiny:
        arguments.shape, arguments.tokens, arguments.steps, arguments.rank = "tiny", "32,64", 2, 8
    device = torch.device("cuda", 0) if torch.cuda.is_available() and not arguments.tiny else torch.device("cpu")
    if device.type == "cpu" and not arguments.tiny:
        parser.error("this needs a CUDA GPU; --tiny tries the code on a CPU")
    guard_bitsandbytes()
    rows = run(arguments, device)
    result = {
        "shape": arguments.shape,
        "budget_gb": arguments.budget_gb if device.type == "cuda" else None,
        "rank": arguments.rank,
        "dropout": arguments.dropout,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "cpu",
        "versions": {"torch": torch.__version__, "bitsandbytes": bitsandbytes.__version__},
        "rows": rows,
        **summary(rows),
    }
    print(table(rows))
    print(json.dumps({key: result[key] for key in ("longest", "lean_over_plain", "packed_over_plain", "fits_2048")}))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
