"""Settings to a chat model, and the list of models that can be had here."""

import platform
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from elysia_chat.configs.loader import load_settings, presets
from elysia_chat.configs.paths import models_dir
from elysia_chat.configs.settings import GenerationSettings, ModelSettings
from elysia_chat.llm import embedded
from elysia_chat.llm.errors import ModelLoadError, UnknownModelError
from elysia_chat.llm.gguf_cache import find_gguf, gguf_file, gguf_tokenizer_folder
from elysia_chat.llm.hardware import choose_device
from elysia_chat.llm.library.contents import find_source
from elysia_chat.llm.loading import check_folder, find_folder

if TYPE_CHECKING:
    from langchain_core.language_models.chat_models import BaseChatModel

NO_ADAPTER = "none"
_LLAMA_CPP_PARALLEL = 2

State = Literal["ready", "will be converted", "missing package", "damaged", "from the hub", "not here", "remote"]


@dataclass(frozen=True)
class KnownModel:
    """A model that can be named in the settings.

    Attributes:
        name: for `model.name`, or of a preset.
        kind: as in `model.kind`.
        state: what stands between it and its first answer.
        path: its folder, where it has one.
        size_bytes: of the folder; None where there is none.
        preset: whether the name is one for `model_preset`.
    """

    name: str
    kind: str
    state: State
    path: Path | None = None
    size_bytes: int | None = None
    preset: bool = False


def build_chat_model(
    model: ModelSettings, generation: GenerationSettings, progress: embedded.Progress | None = None
) -> "BaseChatModel":
    """Return the chat model that the settings describe; models in this process are loaded.

    Args:
        model: which model.
        generation: the sampling that holds where a call says nothing else.
        progress: told how far the embedded model's conversion is, where one is needed.

    Raises:
        UnknownModelError: there is no model of this name; the message lists the known ones.
        ModelPackageError: a package with the embedded weights is missing or damaged.
        ModelLoadError: the model cannot be loaded.
        AdapterError: the adapter cannot be read or belongs to another model.
        GgufError: the model cannot be written for llama.cpp, or a GGUF file cannot be read.
    """
    sampling = generation.model_dump()
    if model.kind == "scripted":
        from elysia_chat.llm.scripted import ScriptedChatModel

        return ScriptedChatModel(
            replies=model.replies,
            delay_s=model.delay_s,
            context_tokens=model.context_tokens,
            max_new_tokens=generation.max_new_tokens,
            stop=generation.stop,
        )
    if model.kind == "openai":
        from elysia_chat.llm.remote import RemoteChatModel

        return RemoteChatModel.connect(
            str(model.base_url),
            str(model.name),
            api_key=model.api_key,
            timeout_s=model.timeout_s,
            context_tokens=model.context_tokens,
            **sampling,
        )
    return _build_local(model, sampling, progress)


def prepare_chat_model(model: ModelSettings, progress: embedded.Progress | None = None) -> None:
    """Convert what a model in this process needs, where that has not been done; nothing is loaded.

    Args:
        model: which model.
        progress: told how far the conversion is, where one is needed.

    Raises:
        ModelError: as `build_chat_model`.
    """
    if model.kind == "gguf":
        gguf_tokenizer_folder(find_gguf(str(model.name)))
    elif model.kind in ("embedded", "transformers"):
        _weights(model, progress)


def known_models() -> list[KnownModel]:
    """Return the embedded model, the folders among the converted models, and the presets."""
    return [_embedded(), *_folders(), *_presets()]


def _build_local(model: ModelSettings, sampling: dict[str, Any], progress: embedded.Progress | None) -> "BaseChatModel":
    if model.kind == "gguf":
        return _from_gguf(model, find_gguf(str(model.name)), None, str(model.name), sampling)
    weights, file = _weights(model, progress)
    if file is not None:
        return _from_gguf(model, file, Path(weights), Path(weights).name, sampling)
    from elysia_chat.llm.transformers_chat import TransformersChatModel

    return TransformersChatModel.from_folder(
        weights,
        adapter=_adapter(model),
        dtype=model.dtype,
        device=model.device,
        quantization=model.quantization,
        context_tokens=model.context_tokens,
        parallel=model.parallel or 1,
        threads=model.threads,
        queue=model.queue,
        int8_decoding=_comes_as_it_is(model),
        **sampling,
    )


def _weights(model: ModelSettings, progress: embedded.Progress | None) -> tuple[str | Path, Path | None]:
    """Return a model's folder or hub name, and the file that llama.cpp computes where it does."""
    source = embedded.embedded_model_folder(progress) if model.kind == "embedded" else _source(str(model.name))
    if not uses_llama_cpp(model):
        return source, None
    if not isinstance(source, Path):
        msg = f"llama.cpp needs the model {source} in a folder here: elysia-chat models add {source}"
        raise ModelLoadError(msg)
    return source, gguf_file(source, _adapter(model), progress=progress or _no_progress)


def uses_llama_cpp(model: ModelSettings) -> bool:
    """Tell whether llama.cpp computes a model of this process."""
    if model.engine != "auto" or model.kind == "gguf":
        return model.engine != "transformers"
    # Another device or another format was asked for by name: transformers is what can give it.
    return _comes_as_it_is(model) and choose_device(model.device).type == "cpu" and _suits_processor()


def _comes_as_it_is(model: ModelSettings) -> bool:
    """Tell whether it is the embedded model, and no number format was asked for: then the quickest one is taken."""
    return model.kind == "embedded" and model.dtype == "auto" and model.quantization == "none"


def _suits_processor() -> bool:
    """Tell whether llama.cpp is the one for this processor.

    On x86 its wheel ends the process where there is no AVX2. Where there are matrix units for bfloat16 (AMX), which the
    wheel does not know, transformers reads a prompt several times faster, and the first word comes sooner.
    """
    import torch

    x86 = platform.machine().lower() in ("x86_64", "amd64")
    if x86 and torch.backends.cpu.get_cpu_capability() == "DEFAULT":
        return False
    return not torch.cpu.get_capabilities().get("amx_bf16", False)


def _from_gguf(
    model: ModelSettings, file: Path, tokenizer: Path | None, name: str, sampling: dict[str, Any]
) -> "BaseChatModel":
    from elysia_chat.llm.llama_cpp_chat import LlamaCppChatModel

    return LlamaCppChatModel.from_gguf(
        file,
        tokenizer or gguf_tokenizer_folder(file),
        context_tokens=model.context_tokens,
        parallel=model.parallel or _LLAMA_CPP_PARALLEL,
        threads=model.threads,
        queue=model.queue,
        model_name=Path(name).stem if tokenizer is None else name,
        **sampling,
    )


def _no_progress(_share: float, _what: str) -> None:
    pass


def _source(name: str) -> str | Path:
    """Return the folder of a name, or the name itself where it can be one of the hub's (`owner/model`)."""
    folder = find_folder(name)
    if folder is not None:
        return folder
    if _is_hub_name(name):
        added = find_source(name)
        return added.folder if added is not None else name
    known = ", ".join(found.name for found in (_embedded(), *_folders()))
    msg = f"There is no model '{name}': give a folder, a hub name (owner/model) or one of: {known}."
    raise UnknownModelError(msg)


def _is_hub_name(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~"))


def _adapter(model: ModelSettings) -> Path | None:
    from elysia_chat.llm.adapter import embedded_adapter, find_adapter

    if model.adapter is None:
        return embedded_adapter() if model.kind == "embedded" else None
    return None if model.adapter == NO_ADAPTER else find_adapter(model.adapter)


def _embedded() -> KnownModel:
    folder = models_dir() / embedded.NAME
    if embedded.is_converted(folder):
        return KnownModel(embedded.NAME, "embedded", "ready", folder, _size(folder))
    state: State = "missing package" if embedded.missing_packages() else "will be converted"
    return KnownModel(embedded.NAME, "embedded", state, folder)


def _folders() -> Iterator[KnownModel]:
    folders = sorted(models_dir().glob("*/config.json"))
    for folder in (path.parent for path in folders if not path.parent.name.startswith(".")):
        if folder.name != embedded.NAME and _is_language_model(folder):
            yield KnownModel(folder.name, "transformers", _state(folder), folder, _size(folder))


def _presets() -> Iterator[KnownModel]:
    for name, path in presets("model").items():
        model = load_settings([path]).model
        if model.kind == "embedded":
            found = _embedded()
            yield KnownModel(name, "embedded", found.state, found.path, found.size_bytes, preset=True)
        elif model.kind == "gguf":
            there: State = "ready" if Path(str(model.name)).expanduser().is_file() else "not here"
            yield KnownModel(name, "gguf", there, preset=True)
        elif model.kind == "transformers":
            folder = find_folder(str(model.name))
            if folder is not None:
                yield KnownModel(name, "transformers", _state(folder), folder, _size(folder), preset=True)
            else:
                elsewhere: State = "from the hub" if _is_hub_name(str(model.name)) else "not here"
                yield KnownModel(name, "transformers", elsewhere, preset=True)
        else:
            yield KnownModel(name, model.kind, "remote" if model.kind == "openai" else "ready", preset=True)


def _is_language_model(folder: Path) -> bool:
    """Tell the folder from one of the embedding models, which lie beside it and bring modules.json."""
    return not (folder / "modules.json").exists()


def _state(folder: Path) -> State:
    try:
        check_folder(folder)
    except ModelLoadError:
        return "damaged"
    return "ready"


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
