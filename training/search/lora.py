"""Low-rank changes of a BERT encoder, by PEFT."""

from typing import Any

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
