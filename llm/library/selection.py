"""Which files of a repository or folder make up a model or adapter, and what kind of one."""

import json
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from elysia_chat.llm.adapter_files import CONFIG, PICKLED, WEIGHTS
from elysia_chat.llm.checkpoint_files import indexed_names
from elysia_chat.llm.errors import LibraryError
from elysia_chat.llm.internlm2.config import MODEL_TYPE

Kind = Literal["internlm2", "model", "adapter"]

_NOTICES = ("LICENSE*", "LICENCE*", "NOTICE*", "USE_POLICY*", "*TERMS*", "README.md")
_MODEL = (
    "config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
    "added_tokens.json", "chat_template.json", "chat_template.jinja", "*.model", "vocab.*", "merges.txt", "*.tiktoken",
    "tekken.json", "preprocessor_config.json", "processor_config.json", "*.safetensors.index.json",
    "pytorch_model.bin.index.json",
)  # fmt: skip
_ADAPTER = (CONFIG, "chat_template.jinja", "training.yaml")
_INDEX, _PICKLED_INDEX = "model.safetensors.index.json", "pytorch_model.bin.index.json"


def small_files(names: Iterable[str]) -> list[str]:
    """Return everything that belongs to a model or adapter but its weights.

    Raises:
        LibraryError: there is neither.
    """
    there = sorted(names)
    wanted = _ADAPTER if CONFIG in there else _MODEL
    if wanted is _MODEL and "config.json" not in there:
        msg = f"That is no model and no adapter: it has neither config.json nor {CONFIG}."
        raise LibraryError(msg)
    patterns = (*wanted, *_NOTICES)
    return [name for name in there if any(fnmatchcase(name, pattern) for pattern in patterns)]


def kind_of(folder: Path) -> Kind:
    """Return what the small files in a folder belong to.

    Raises:
        LibraryError: transformers does not know the architecture by itself, or a file is damaged.
    """
    if (folder / CONFIG).is_file():
        return "adapter"
    config = _read(folder / "config.json")
    if config.get("model_type") == MODEL_TYPE:
        return "internlm2"
    _check_known(config)
    return "model"


def weight_names(names: Iterable[str], folder: Path, kind: Kind) -> list[str]:
    """Return the files with the weights.

    Args:
        names: of all files at the source.
        folder: with the small files.
        kind: of what it is.

    Raises:
        LibraryError: there are none that can be used; an index is damaged.
    """
    there = set(names)
    if kind == "adapter":
        found = [name for name in (WEIGHTS, PICKLED) if name in there][:1]
    elif _INDEX in there:
        found = indexed_names(folder / _INDEX)
    else:
        single = ["model.safetensors"] if "model.safetensors" in there else []
        shards = [name for name in sorted(there) if fnmatchcase(name, "model*.safetensors")]
        found = single or shards
    pickled = [name for name in sorted(there) if fnmatchcase(name, "pytorch_model*.bin")]
    if not found and kind == "internlm2":
        found = indexed_names(folder / _PICKLED_INDEX) if _PICKLED_INDEX in there else pickled
    if not found:
        why = " but pickled ones (.bin), which can run code: take a version in safetensors" * bool(pickled)
        msg = f"There are no weights in safetensors{why}."
        raise LibraryError(msg)
    missing = [name for name in found if name not in there]
    if missing:
        msg = f"The weights are incomplete: {missing[0]} is missing."
        raise LibraryError(msg)
    return found


def _check_known(config: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING

    kind = config.get("model_type")
    known = kind in CONFIG_MAPPING and CONFIG_MAPPING[kind] in AutoModelForCausalLM._model_mapping
    if not known:
        needs = " by itself; code that comes with a model is never run" * ("auto_map" in config)
        msg = f"transformers has no language model of type '{kind}'{needs}: serve it elsewhere, with model.kind=openai."
        raise LibraryError(msg)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        msg = f"{path.name} is damaged: copy or download the model again."
        raise LibraryError(msg) from error
    if not isinstance(content, dict):
        msg = f"{path.name} is damaged: it holds no settings."
        raise LibraryError(msg)
    return content
