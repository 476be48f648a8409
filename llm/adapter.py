"""LoRA adapters in PEFT's folder format: found, checked against the model, and merged into it or put beside it."""

import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.configs.paths import models_dir
from elysia_chat.llm.adapter_files import (
    CONFIG,
    PICKLED,
    PREFIX,
    is_adapter,
    read_config,
    read_shapes,
    read_weights,
    weights_file,
    write_adapter,
)
from elysia_chat.llm.errors import AdapterError, ConversionError
from elysia_chat.llm.internlm2.adapter import convert_adapter, is_for_internlm2
from elysia_chat.llm.internlm2.config import heads_of

if TYPE_CHECKING:
    import torch


def embedded_adapter() -> Path | None:
    """Return the adapter that comes with the embedded model, where there is one."""
    folder = Path(__file__).parent / "adapters" / "elysia"
    return folder if is_adapter(folder) else None


def find_adapter(name: str | Path) -> Path:
    """Return the folder that an adapter's name means: a path, or one that was added (`models add`).

    Raises:
        AdapterError: there is none.
    """
    for folder in (Path(name).expanduser(), models_dir() / name):
        if folder.is_dir():
            return folder
    msg = f"{name} is no adapter: there is no such folder, and none of this name was added (models add)."
    raise AdapterError(msg)


@contextmanager
def fitting_adapter(folder: Path, model: Any) -> Iterator[Path]:
    """Give a folder with the adapter in the form that fits the model, in safetensors.

    What was trained on InternLM2's own module names is mapped for its converted model; pickled weights are read as data
    alone. The folder is gone afterwards where it had to be made.

    Raises:
        AdapterError: it cannot be read, or cannot be mapped to this model.
    """
    config = read_config(folder)
    config_of_model = model.config.get_text_config()
    foreign = config_of_model.model_type == "llama" and is_for_internlm2(read_shapes(folder))
    if not foreign and weights_file(folder).name != PICKLED:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="elysia-chat-adapter-") as temporary:
        made = Path(temporary)
        try:
            if foreign:
                convert_adapter(folder, made, heads_of(config_of_model.to_dict()))
            else:
                write_adapter(made, config, read_weights(folder))
        except ConversionError as error:
            raise AdapterError(str(error)) from error
        yield made


def check_adapter(folder: Path, model: Any, base: str, *, also_called: Sequence[str] = ()) -> None:
    """Check that an adapter was made for this model: by the name of its base, and by the shape of each matrix.

    Args:
        folder: of the adapter.
        model: of transformers; it may be quantised, or without weights.
        base: the model's folder or hub name; only its last part is compared.
        also_called: other names of the model.

    Raises:
        AdapterError: it cannot be read, or belongs to another model.
    """
    config = read_config(folder)
    trained_on = str(config.get("base_model_name_or_path") or "")
    if trained_on and _last_part(trained_on) not in map(_last_part, (base, *also_called)):
        msg = (
            f"The adapter {folder} was trained on '{_last_part(trained_on)}', not on '{_last_part(base)}': give the "
            f"right one, or mend base_model_name_or_path in its {CONFIG}."
        )
        raise AdapterError(msg)
    modules = dict(model.named_modules())
    shapes = read_shapes(folder)
    for name, shape in shapes.items():
        module, side = _module_and_side(name)
        if side[:1] not in ("A", "B"):
            continue
        there = _shape(modules.get(module))
        fits = there is not None and shape[1 if side[0] == "A" else 0] == there[1 if side[0] == "A" else 0]
        if not fits:
            how = (
                f": it was trained on InternLM2's own names. Bring it in with: elysia-chat models add {folder}"
                if is_for_internlm2(shapes)
                else f": {module} has another shape there."
            )
            msg = f"The adapter {folder} does not fit the model {_last_part(base)}{how}"
            raise AdapterError(msg)


def merge_adapter(folder: Path, model: Any, dtype: "torch.dtype | None" = None) -> Any:
    """Return the model with an adapter merged into its weights, layer by layer in float32.

    A merge in half precision would round the sum of weight and adapter away where it is small; all of a large model in
    float32 may not fit into memory.

    Args:
        folder: of the adapter, already checked.
        model: in its own dtype; it is changed.
        dtype: of the merged weights; unset: float32.

    Raises:
        AdapterError: the merged weights are not numbers, or peft cannot read the adapter.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    with_adapter = _with_adapter(folder, model)
    for layer in with_adapter.modules():
        if not isinstance(layer, BaseTunerLayer):
            continue
        for parameter in layer.get_base_layer().parameters():
            parameter.data = parameter.data.float()
        try:
            layer.merge(safe_merge=True)
        except (ValueError, RuntimeError) as error:
            raise _cannot_apply(folder, error) from error
        for parameter in layer.get_base_layer().parameters():
            parameter.data = parameter.data.to(dtype or parameter.dtype)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All adapters are already merged")
        return with_adapter.merge_and_unload()


def attach_adapter(folder: Path, model: Any) -> Any:
    """Return the model with an adapter beside its weights, which stay as they are; for quantised models.

    Merging would quantise the sum again, and lose part of what was learned.

    Args:
        folder: of the adapter, already checked.
        model: it is changed.

    Raises:
        AdapterError: peft cannot read the adapter.
    """
    return _with_adapter(folder, model).get_base_model()


def _with_adapter(folder: Path, model: Any) -> Any:
    from peft import PeftModel

    try:
        with warnings.catch_warnings():
            # peft 0.21 asks transformers 5 by the attribute's older name.
            warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
            return PeftModel.from_pretrained(model, folder, is_trainable=False)
    except (ValueError, RuntimeError, KeyError, TypeError) as error:
        raise _cannot_apply(folder, error) from error


def _cannot_apply(folder: Path, error: Exception) -> AdapterError:
    return AdapterError(f"Cannot apply the adapter {folder}: {str(error).splitlines()[0]}")


def _shape(module: Any) -> tuple[int, ...] | None:
    """Return the shape of a layer's matrix; the weight of a quantised one has another."""
    if hasattr(module, "out_features"):
        return (module.out_features, module.in_features)
    weight = getattr(module, "weight", None)
    return None if weight is None else tuple(weight.shape)


def _module_and_side(weight: str) -> tuple[str, str]:
    """Return the module that a weight of the adapter changes, and what follows `lora_` in its name."""
    module, _, side = weight.removeprefix(PREFIX).partition(".lora_")
    return module, side


def _last_part(name: str) -> str:
    return name.replace("\\", "/").rstrip("/").rpartition("/")[2].casefold()
