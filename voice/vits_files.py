"""Which voice lies at a path, and in which files."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from elysia_chat.voice.errors import VoiceImportError
from elysia_chat.voice.vits_model import read_config

Form = Literal["coqui", "original", "piper"]
FORMS = "a coqui-tts checkpoint, a G_*.pth of the original VITS with its configuration, or a Piper .onnx with its .json"


@dataclass(frozen=True)
class VoiceFiles:
    """The files of a voice.

    Attributes:
        form: whose.
        weights: the network.
        config: its description.
    """

    form: Form
    weights: Path
    config: Path


def find_files(path: Path) -> VoiceFiles:
    """Return the files of the voice at a path.

    Args:
        path: of its weights, or of the folder with all its files.

    Raises:
        VoiceImportError: there is no voice, a file of it is missing, or there are several.
    """
    if path.is_dir():
        path = _weights_in(path)
    elif not path.exists():
        msg = f"There is no file or folder {path}."
        raise VoiceImportError(msg)
    if path.suffix == ".onnx":
        return VoiceFiles("piper", path, _piper_config(path))
    if path.suffix not in (".pth", ".pt"):
        msg = f"{path} is no voice that is known here; give {FORMS}."
        raise VoiceImportError(msg)
    form, config = _torch_config(path)
    return VoiceFiles(form, path, config)


def _weights_in(folder: Path) -> Path:
    files = sorted(item for item in folder.iterdir() if item.is_file())
    networks = [item for item in files if item.suffix == ".onnx"]
    checkpoints = [item for item in files if item.suffix in (".pth", ".pt") and not _no_network(item)]
    found = networks or _newest(checkpoints)
    if not found:
        msg = f"There is no voice in {folder}: it has no .pth and no .onnx file. Give {FORMS}."
        raise VoiceImportError(msg)
    if len(found) > 1:
        msg = f"There are several voices in {folder}: {', '.join(item.name for item in found)}. Give the path of one."
        raise VoiceImportError(msg)
    return found[0]


def _no_network(path: Path) -> bool:
    """Return whether a checkpoint is a discriminator, or a table of names."""
    return bool(re.match(r"(D_|DUR_|speakers|speaker_ids|language_ids)", path.name))


def _newest(paths: list[Path]) -> list[Path]:
    """Return the newest of the checkpoints of one run, as their names tell, or all where they do not."""
    best = [path for path in paths if path.stem in ("best_model", "G_latest")]
    if best:
        return best
    steps = {
        path: int(found[1]) for path in paths if (found := re.search(r"^(?:G|checkpoint|best_model)_(\d+)$", path.stem))
    }
    return [max(steps, key=lambda path: steps[path])] if steps and len(steps) == len(paths) else paths


def _piper_config(path: Path) -> Path:
    for candidate in (path.with_name(f"{path.name}.json"), path.with_suffix(".json"), path.with_name("config.json")):
        if candidate.is_file():
            return candidate
    msg = f"{path} needs its description beside it, {path.name}.json, which is missing."
    raise VoiceImportError(msg)


def _torch_config(path: Path) -> tuple[Form, Path]:
    beside = sorted(path.parent.glob("*.json"))
    named = [item for item in beside if item.stem in ("config", path.stem)]
    told: list[str] = []
    for candidates in (named, beside):
        found = []
        for candidate in candidates:
            try:
                form = _form(read_config(candidate))
            except VoiceImportError as error:
                told.append(str(error))
                continue
            if form:
                found.append((form, candidate))
        if len(found) > 1:
            msg = f"{path} has several configurations beside it: {_list(item for _, item in found)}. Keep its own."
            raise VoiceImportError(msg)
        if found:
            return found[0]
    what = told[0] if told else f"It is config.json, as the tool that trained the voice wrote it{_seen(beside)}."
    msg = f"{path} needs its configuration beside it, which is missing. {what}"
    raise VoiceImportError(msg)


def _seen(paths: list[Path]) -> str:
    return f"; {_list(paths)} is none" if paths else ""


def _list(paths: Iterable[Path]) -> str:
    return ", ".join(path.name for path in paths)


def _form(content: dict[str, Any]) -> Form | None:
    if isinstance(content.get("model"), dict) and isinstance(content.get("data"), dict):
        return "original"
    if isinstance(content.get("model"), str):
        return "coqui"
    return None
