"""LoRA adapters that were trained on InternLM2's own module names, for the converted model.

The mapping is exact: query, key and value get the packed layer's matrix A, and each its rows of matrix B (and of DoRA's
magnitudes).
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from elysia_chat.llm.adapter_files import PREFIX, Weights, read_config, read_weights, write_adapter
from elysia_chat.llm.errors import ConversionError
from elysia_chat.llm.internlm2.config import Heads
from elysia_chat.llm.internlm2.names import MODULES, PACKED, renamed, split_rows, unpacked_names

# Settings that change more than the matrices A and B, and what they may be.
_UNKNOWN_HERE = ("target_parameters", "trainable_token_indices", "lora_bias", "layer_replication", "megatron_config")
_PLAIN_STARTS = (True, False, "gaussian", "eva", "orthogonal")
_NAME = re.compile(r"[\w.]+")
_INTERNLM2_PART = re.compile(rf"\.(attention\.({PACKED}|wo)|feed_forward\.w[123]|output|tok_embeddings)\.")


def is_for_internlm2(names: Iterable[str]) -> bool:
    """Tell whether tensors of an adapter have the names of InternLM2's own modules."""
    return any(_INTERNLM2_PART.search(name) for name in names)


def convert_adapter(source: Path, target: Path, heads: Heads, base: str | None = None) -> None:
    """Write an adapter for the converted model.

    Args:
        source: PEFT folder whose modules have InternLM2's names; its weights may be pickled.
        target: folder to write into.
        heads: of the model.
        base: name of the converted model; unset: as the adapter calls it.

    Raises:
        ConversionError: it uses something that cannot be mapped, or fits no model with these heads.
        AdapterError: it is no LoRA, or its files are damaged.
    """
    config = read_config(source)
    _check_plain(config, source)
    weights = _converted(source, heads)
    config["target_modules"] = _targets(weights)
    for key in ("rank_pattern", "alpha_pattern"):
        config[key] = _pattern(config.get(key) or {}, key)
    saved = [new for old in config.get("modules_to_save") or () for new in MODULES.get(old, (old,))]
    config["modules_to_save"] = saved or None
    if base is not None:
        config["base_model_name_or_path"] = base
    write_adapter(target, config, weights)


def _check_plain(config: Mapping[str, Any], source: Path) -> None:
    used = [key for key in _UNKNOWN_HERE if config.get(key)]
    if config.get("bias", "none") != "none":
        used.append(f"bias={config['bias']}")
    if config.get("init_lora_weights", True) not in _PLAIN_STARTS:
        used.append(f"init_lora_weights={config['init_lora_weights']}")
    if used:
        msg = (
            f"The adapter {source} uses {', '.join(used)}, which cannot be mapped from InternLM2's names: merge it "
            "with the tool that trained it, and add the merged model."
        )
        raise ConversionError(msg)


def _converted(source: Path, heads: Heads) -> Weights:
    weights: Weights = {}
    for name, tensor in read_weights(source).items():
        packed = unpacked_names(name)
        if packed is None:
            weights[renamed(name)] = tensor
        elif ".lora_A." in f"{name}.":
            # Each of the three needs a copy of its own: safetensors writes no memory twice.
            weights.update({new: tensor.clone() for new in packed})
        else:
            try:
                parts = split_rows(tensor, heads)
            except ValueError as error:
                msg = f"The adapter {source} belongs to another model: {name} has {error}."
                raise ConversionError(msg) from error
            weights.update(zip(packed, parts, strict=True))
    return weights


def _targets(weights: Weights) -> list[str]:
    """Return the modules with a LoRA: by their last names where every layer has the same ones, else in full."""
    modules = {name.partition(".lora_")[0].removeprefix(PREFIX) for name in weights if ".lora_" in name}
    short = {module.rpartition(".")[2] for module in modules}
    layers: dict[str, set[str]] = {}
    for module in modules:
        found = re.match(r"(.*\.layers\.\d+)\.(.*)", module)
        if found:
            layers.setdefault(found[1], set()).add(found[2])
    same = len({frozenset(names) for names in layers.values()}) <= 1
    numbers = {int(layer.rpartition(".")[2]) for layer in layers}
    whole = numbers == set(range(len(numbers)))
    return sorted(short if same and whole else modules)


def _pattern(patterns: Mapping[str, Any], key: str) -> dict[str, Any]:
    """Return ranks or alphas by module name, for the modules that a name stands for."""
    found: dict[str, Any] = {}
    for name, value in patterns.items():
        if not _NAME.fullmatch(name):
            msg = f"The adapter's {key} '{name}' is no module name and cannot be mapped: name the modules one by one."
            raise ConversionError(msg)
        before, dot, last = name.rpartition(".")
        for new in MODULES.get(last, (last,)):
            found[f"{renamed(before)}{dot}{new}" if before else new] = value
    return found
