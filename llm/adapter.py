"""LoRA adapters in PEFT's folder format: checked against the model, then merged into it in memory."""

import json
import warnings
from pathlib import Path
from typing import Any

from elysia_chat.llm.errors import AdapterError

CONFIG = "adapter_config.json"
WEIGHTS = "adapter_model.safetensors"
_PREFIX = "base_model.model."


def embedded_adapter() -> Path | None:
    """Return the adapter that comes with the embedded model, where there is one."""
    folder = Path(__file__).parent / "adapters" / "elysia"
    return folder if (folder / CONFIG).is_file() else None


def check_adapter(folder: Path, model: Any, base: str) -> None:
    """Check that an adapter was made for this model: by the name of its base, and by the shape of each matrix.

    Args:
        folder: of the adapter.
        model: of transformers.
        base: the model's folder or hub name; only its last part is compared.

    Raises:
        AdapterError: it cannot be read, or belongs to another model.
    """
    config = _read_config(folder)
    trained_on = str(config.get("base_model_name_or_path") or "")
    if trained_on and _last_part(trained_on) != _last_part(base):
        msg = (
            f"The adapter {folder} was trained on '{_last_part(trained_on)}', not on '{_last_part(base)}': give the "
            f"right one, or mend base_model_name_or_path in its {CONFIG}."
        )
        raise AdapterError(msg)
    modules = dict(model.named_modules())
    for name, shape in _shapes(folder).items():
        module, side = _module_and_side(name)
        if side[:1] not in ("A", "B"):
            continue
        weight = getattr(modules.get(module), "weight", None)
        fits = weight is not None and shape[1 if side[0] == "A" else 0] == weight.shape[1 if side[0] == "A" else 0]
        if not fits:
            msg = f"The adapter {folder} does not fit the model {_last_part(base)}: {module} has another shape there."
            raise AdapterError(msg)


def merge_adapter(folder: Path, model: Any) -> Any:
    """Return the model with an adapter merged into its weights, the merged ones in float32.

    A merge in half precision would round the sum of weight and adapter away where it is small; all of a large model in
    float32 may not fit into memory.

    Args:
        folder: of the adapter, already checked.
        model: in its own dtype; it is changed.

    Raises:
        AdapterError: the merged weights are not numbers, or peft cannot read the adapter.
    """
    from peft import PeftModel

    modules = dict(model.named_modules())
    for name in {_module_and_side(name)[0] for name in _shapes(folder)} & modules.keys():
        modules[name].weight.data = modules[name].weight.data.float()
    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by the attribute's older name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            with_adapter = PeftModel.from_pretrained(model, folder, is_trainable=False)
            return with_adapter.merge_and_unload(safe_merge=True)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        msg = f"Cannot apply the adapter {folder}: {str(error).splitlines()[0]}"
        raise AdapterError(msg) from error


def _read_config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{folder} is no adapter: its {CONFIG} is missing or damaged."
        raise AdapterError(msg) from error
    if not isinstance(config, dict) or config.get("peft_type") != "LORA":
        msg = f"{folder} holds no LoRA adapter: only those can be merged."
        raise AdapterError(msg)
    return config


def _shapes(folder: Path) -> dict[str, list[int]]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(folder / WEIGHTS, framework="pt") as weights:
            return {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        msg = f"{folder / WEIGHTS} is missing, cut off or damaged: copy the adapter again."
        raise AdapterError(msg) from error


def _module_and_side(weight: str) -> tuple[str, str]:
    """Return the module that a weight of the adapter changes, and what follows `lora_` in its name."""
    module, _, side = weight.removeprefix(_PREFIX).partition(".lora_")
    return module, side


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()
