"""Low-rank changes of a BERT encoder: made with PEFT, kept as plain factors that the search adds to its weights."""

import json
from pathlib import Path
from typing import Any

from elysia_chat.kb.factors import FORMAT

TARGETS = ("query", "key", "value", "dense")


def add_lora(model: Any, rank: int, *, dropout: float = 0.05, whole: tuple[str, ...] = ()) -> Any:
    """Return the model with low-rank changes on all linear layers of its encoder; everything else is frozen.

    Args:
        model: a BertModel, or a BERT with a head.
        rank: of the changes.
        dropout: on their input.
        whole: modules that are trained whole, by the last parts of their names.
    """
    from peft import LoraConfig, get_peft_model

    names = [
        name
        for name, _ in model.named_modules()
        if ".layer." in f".{name}" and name.split(".")[-1] in TARGETS
    ]  # fmt: skip
    config = LoraConfig(
        r=rank, lora_alpha=rank, lora_dropout=dropout, target_modules=names, modules_to_save=list(whole) or None
    )
    return get_peft_model(model, config)


def save_factors(model: Any, path: Path, facts: dict[str, Any], whole: tuple[str, ...] = ()) -> None:
    """Write the changes of a trained model as safetensors in bfloat16.

    A changed layer `name` has two tensors, `name.down` (rank, in) and `name.up` (out, rank): up @ down is added to its
    weight. A module trained whole has its tensors by their names. Names are those of the encoder itself.

    Args:
        model: from `add_lora`.
        path: the file to write.
        facts: kept in the file's metadata.
        whole: modules that were trained whole.
    """
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        plain = name.removeprefix("base_model.model.").removeprefix("bert.")
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            scaling = float(module.scaling["default"])
            tensors[f"{plain}.down"] = module.lora_A["default"].weight.detach()
            tensors[f"{plain}.up"] = module.lora_B["default"].weight.detach() * scaling
        elif plain.split(".modules_to_save")[0] in whole and name.endswith("modules_to_save.default"):
            for part, value in module.state_dict().items():
                tensors[f"{plain.split('.modules_to_save')[0]}.{part}"] = value
    kept = {name: value.to("cpu", torch.bfloat16).contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, metadata={"format": FORMAT, "facts": json.dumps(facts, ensure_ascii=False)})
