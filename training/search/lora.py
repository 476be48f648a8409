"""Low-rank changes of a BERT encoder: made with PEFT, kept as plain factors that the search adds to its weights."""

import json
from pathlib import Path
from typing import Any

from elysia_chat.kb.factors import FORMAT
from elysia_chat.training.errors import PresetError

_WHOLE = ".modules_to_save.default"
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


def load_factors(model: Any, path: Path) -> None:
    """Set the changes of a model to those that `save_factors` wrote.

    Args:
        model: from `add_lora`, of the same rank and with the same modules trained whole.
        path: the file.

    Raises:
        PresetError: it cannot be read, or it holds the changes of another model or of another rank.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        kept = load_file(path)
    except (OSError, SafetensorError) as error:
        msg = f"{path} holds no factors: name the factors.safetensors of a search run."
        raise PresetError(msg) from error
    places: dict[str, tuple[torch.Tensor, float]] = {}
    for name, module in model.named_modules():
        plain = _plain(name)
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            places[f"{plain}.down"] = module.lora_A["default"].weight, 1.0
            places[f"{plain}.up"] = module.lora_B["default"].weight, float(module.scaling["default"])
        elif name.endswith(_WHOLE):
            for part, value in module.state_dict().items():
                places[f"{plain.removesuffix(_WHOLE)}.{part}"] = value, 1.0
    if {name: value.shape for name, value in kept.items()} != {name: item.shape for name, (item, _) in places.items()}:
        msg = (
            f"{path} holds the changes of another model, or of another rank: start from nothing, or from its own kind."
        )
        raise PresetError(msg)
    with torch.no_grad():
        for name, (parameter, scaling) in places.items():
            parameter.copy_(kept[name].to(parameter.dtype) / scaling)


def save_factors(model: Any, path: Path, facts: dict[str, Any]) -> None:
    """Write the changes of a trained model as safetensors in bfloat16.

    A changed layer `name` has two tensors, `name.down` (rank, in) and `name.up` (out, rank): up @ down is added to its
    weight. A module trained whole has its tensors by their names. Names are those of the encoder itself.

    Args:
        model: from `add_lora`.
        path: the file to write.
        facts: kept in the file's metadata.
    """
    import torch
    from safetensors.torch import save_file

    tensors: dict[str, torch.Tensor] = {}
    for name, module in model.named_modules():
        plain = _plain(name)
        if hasattr(module, "lora_A") and "default" in module.lora_A:
            scaling = float(module.scaling["default"])
            tensors[f"{plain}.down"] = module.lora_A["default"].weight.detach()
            tensors[f"{plain}.up"] = module.lora_B["default"].weight.detach() * scaling
        elif name.endswith(_WHOLE):
            for part, value in module.state_dict().items():
                tensors[f"{plain.removesuffix(_WHOLE)}.{part}"] = value
    kept = {name: value.to("cpu", torch.bfloat16).contiguous() for name, value in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(kept, path, metadata={"format": FORMAT, "facts": json.dumps(facts, ensure_ascii=False)})


def _plain(name: str) -> str:
    """Return the name of a module as the encoder itself has it."""
    return name.removeprefix("base_model.model.").removeprefix("bert.")
