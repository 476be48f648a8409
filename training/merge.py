"""Merges a LoRA adapter into its base, and measures what that changed.

Two ways lead to a model that can be handed over, and both are here: into the 16-bit base, and into the base as the
adapter saw it in training, which for one trained on 4 bits is the dequantised base. The third way, merging into 4-bit
weights and quantising them again, loses part of what was learned and is not offered.
"""

import gc
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from elysia_chat.configs.files import check_free, check_target, fresh_folder, writing_errors
from elysia_chat.llm.hardware import choose_device
from elysia_chat.llm.loading import check_folder, find_folder, load_model, quiet_progress_bars
from elysia_chat.training.adapters import (
    Bits,
    attach,
    base_of,
    check_belongs,
    empty_model,
    load_base,
    public_name,
    trained_bits,
)
from elysia_chat.training.handover_errors import MergeError
from elysia_chat.training.merge_difference import TEXTS, Difference, compare, encode_texts, measure

Into = Literal["auto", "16-bit", "dequantised"]
REPORT = "merge.json"
_NOTICES = ("NOTICE*", "LICENSE*", "LICENCE*", "GEMMA_TERMS*", "*TERMS*.html", "USE_POLICY*")
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_SPARE_MEMORY = 0.6


@dataclass(frozen=True)
class MergeReport:
    """What was merged into what (names, not places), and how far it is from the adapter on its base."""

    base: str
    adapter: str
    output: str
    trained_bits: int
    into: str
    dtype: str
    bytes: int
    difference: Difference

    def summary(self) -> str:
        """Return the measured difference as one line."""
        found = self.difference
        return (
            f"merged into the {self.into} base ({self.dtype}): loss {found.loss_adapter:.4f} before, "
            f"{found.loss_merged:.4f} after, mean KL {found.mean_kl:.1e}, same next token at "
            f"{found.same_choice:.1%} of {found.tokens} positions"
        )


def merge(
    adapter: Path,
    output: Path,
    *,
    base: str | None = None,
    into: Into = "auto",
    bits: Bits | None = None,
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16",
    shard_size: str = "4GB",
    texts: Sequence[str] = TEXTS,
    device: str = "auto",
    overwrite: bool = False,
    progress: Callable[[str], None] = lambda _what: None,
) -> MergeReport:
    """Write a model folder that holds base and adapter in one, with tokenizer, chat template and generation settings.

    The folder appears only when it is complete and measured; until then whatever is at `output` stays as it was.

    Args:
        adapter: PEFT folder; a checkpoint of a run is one.
        output: the new folder.
        base: folder or hub name of the base; unset: the one that the adapter names.
        into: 'auto' is the base as it was in training: dequantised for 4 bits, else 16-bit.
        bits: how the base was loaded in training; unset: as the settings beside the adapter say.
        dtype: of the merged weights.
        shard_size: largest file of weights.
        texts: on which the difference is measured.
        device: where to compute.
        overwrite: replace a folder that is at `output`.
        progress: told what is being done.

    Raises:
        MergeError: the parts do not go together, the disk has no room, or `output` exists.
        CheckpointError: the adapter cannot be read.
        AdapterError: it belongs to another base, or is cut short.
        ModelLoadError: the base cannot be loaded.
    """
    name = base or base_of(adapter)
    check_target(output, overwrite, MergeError)
    check_belongs(adapter, name)
    how: Bits = bits or trained_bits(adapter)
    target = _target(into, how)
    _check_tied(adapter, name)
    check_free(output, _weights_bytes(name, dtype), MergeError)

    progress("measuring the adapter on its base")
    exact = _measuring_dtype(name, device)
    model, tokenizer = load_base(name, bits=how, dtype=exact, device=device)
    rows = encode_texts(tokenizer, texts)
    if not rows:
        msg = "The difference needs at least one text of two words or more."
        raise MergeError(msg)
    before = measure(attach(adapter, model), rows)
    del model
    gc.collect()

    progress(f"merging into the {target} base")
    merged, tokenizer = _merged(name, adapter, target, dtype, device)
    with writing_errors(output, MergeError), fresh_folder(output) as (fresh, finish):
        progress("saving")
        _save(merged, tokenizer, fresh, adapter, name, shard_size)
        del merged
        gc.collect()
        progress("measuring the merged model")
        check_folder(fresh)
        again, _ = load_model(str(fresh), None, exact, device)
        difference = compare(before, measure(again, rows), exact)
        del again
        report = MergeReport(
            base=public_name(name),
            adapter=adapter.resolve().name,
            output=output.resolve().name,
            trained_bits=how,
            into=target,
            dtype=dtype,
            bytes=sum(path.stat().st_size for path in fresh.glob("*.safetensors")),
            difference=difference,
        )
        content = json.dumps(asdict(report), indent=2, ensure_ascii=False) + "\n"
        (fresh / REPORT).write_text(content, encoding="utf-8")
        finish()
    return report


def _target(into: Into, bits: Bits) -> Literal["16-bit", "dequantised"]:
    if into == "auto":
        return "dequantised" if bits == 4 else "16-bit"
    if into == "dequantised" and bits == 16:
        msg = "The adapter was trained on 16-bit weights: merge it into the 16-bit base."
        raise MergeError(msg)
    return into


def _merged(name: str, adapter: Path, target: str, dtype: str, device: str) -> tuple[Any, Any]:
    model, tokenizer = load_base(name, bits=4 if target == "dequantised" else 16, dtype=dtype, device=device)
    if target == "dequantised":
        dequantise(model, _DTYPES[dtype])
    with_adapter = attach(adapter, model)
    _merge_layers(with_adapter)
    return with_adapter.unload(), tokenizer


def dequantise(model: Any, dtype: torch.dtype) -> None:
    """Replace the 4-bit layers of a model by dense ones that hold the same rounded weights."""
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn.modules import Linear4bit

    for name, layer in list(model.named_modules()):
        if not isinstance(layer, Linear4bit):
            continue
        with torch.device("meta"):
            dense = torch.nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
        packed: Any = layer.weight
        weight = dequantize_4bit(packed.data, packed.quant_state)
        dense.weight = torch.nn.Parameter(weight.to(dtype), requires_grad=False)
        if layer.bias is not None:
            dense.bias = torch.nn.Parameter(layer.bias.data.to(dtype), requires_grad=False)
        model.set_submodule(name, dense)
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_loaded_in_4bit = False
    model.is_quantized = False


def _merge_layers(with_adapter: Any) -> None:
    """Merge layer by layer in float32 and round each sum once: what is small beside the weight is not lost twice."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    for layer in with_adapter.modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        parameters = list(layer.get_base_layer().parameters())
        kinds = [parameter.dtype for parameter in parameters]
        for parameter in parameters:
            parameter.data = parameter.data.float()
        try:
            layer.merge(safe_merge=True)
        except ValueError as error:
            msg = f"The adapter cannot be merged: {str(error).splitlines()[0]}"
            raise MergeError(msg) from error
        for parameter, kind in zip(layer.get_base_layer().parameters(), kinds, strict=True):
            parameter.data = parameter.data.to(kind)


def _save(model: Any, tokenizer: Any, folder: Path, adapter: Path, name: str, shard_size: str) -> None:
    template = adapter / "chat_template.jinja"
    if template.is_file():
        tokenizer.chat_template = template.read_text(encoding="utf-8")
    with quiet_progress_bars():
        model.save_pretrained(folder, max_shard_size=shard_size)
    tokenizer.save_pretrained(folder)
    source = find_folder(name)
    for pattern in _NOTICES if source is not None else ():
        for notice in Path(str(source)).glob(pattern):
            shutil.copyfile(notice, folder / notice.name)


def _check_tied(adapter: Path, name: str) -> None:
    """Refuse a LoRA on a head that shares its matrix with the embeddings: merging would change both."""
    config = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    targets = config.get("target_modules") or []
    on_ends = [part for part in ("lm_head", "embed_tokens") if part in targets]
    if on_ends and empty_model(name).config.get_text_config().tie_word_embeddings:
        msg = f"The adapter changes {on_ends[0]}, which {name} shares between its two ends: it cannot be merged."
        raise MergeError(msg)


def _parameters(name: str) -> int:
    return int(empty_model(name).num_parameters())


def _weights_bytes(name: str, dtype: str) -> int:
    return _parameters(name) * _DTYPES[dtype].itemsize


def _measuring_dtype(name: str, device: str) -> str:
    """Return float32 where the model fits into memory in it, since bfloat16 would measure its own rounding."""
    target = choose_device(device)
    if target.type == "cuda":
        room = torch.cuda.mem_get_info(target)[0]
    else:
        import psutil

        room = psutil.virtual_memory().available
    return "float32" if _parameters(name) * 4 < room * _SPARE_MEMORY else "bfloat16"
