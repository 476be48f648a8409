"""What XTuner made, for the chat: its adapter under the names of the chat's layers, its merged weights as a Llama."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from elysia_chat.configs.files import fresh_folder, writing_errors
from elysia_chat.llm.adapter_files import read_config as adapter_settings
from elysia_chat.llm.adapter_files import read_weights, write_adapter
from elysia_chat.llm.checkpoint_files import read_config
from elysia_chat.llm.internlm2.adapter import convert_adapter
from elysia_chat.llm.internlm2.config import heads_of
from elysia_chat.llm.internlm2.convert import convert_model
from elysia_chat.llm.loading import check_folder
from elysia_chat.training.records import SETTINGS
from elysia_chat.training.xtuner.errors import XtunerError
from elysia_chat.training.xtuner.run_folder import ADAPTER, BASE, XTUNER_ADAPTER, RunRecord

_WEIGHTS = ("*.safetensors", "*.safetensors.index.json")


def take_adapter(folder: Path, record: RunRecord) -> Path:
    """Write a run's adapter as the chat reads it, and return its folder.

    InternLM2's own layers are mapped onto those of the converted model; of a Llama only the base's name is put right,
    which for XTuner is a folder of the run.

    Raises:
        ConversionError: it cannot be mapped.
        AdapterError: XTuner wrote no whole adapter.
        XtunerError: the disk is full.
    """
    source, target = folder / XTUNER_ADAPTER, folder / ADAPTER
    with writing_errors(target, XtunerError), fresh_folder(target) as (fresh, finish):
        if record.internlm2:
            convert_adapter(source, fresh, heads_of(read_config(folder / BASE)), record.base_name)
        else:
            settings = {**adapter_settings(source), "base_model_name_or_path": record.base_name}
            write_adapter(fresh, settings, read_weights(source))
        # Says in how many bits the base was, which a merge needs to know.
        shutil.copyfile(folder / SETTINGS, fresh / SETTINGS)
        finish()
    return target


def take_merged(
    merged: Path, target: Path, record: RunRecord, progress: Callable[[float], None] = lambda _share: None
) -> Path:
    """Write the weights that XTuner merged as a model of the chat.

    Args:
        merged: the folder that XTuner wrote, in half precision.
        target: the new folder; what is there is replaced once the new one is whole.
        record: of the run.
        progress: told the share done.

    Raises:
        ConversionError: they cannot be converted.
        ModelLoadError: XTuner wrote no whole model.
        XtunerError: the disk is full.
    """
    with writing_errors(target, XtunerError), fresh_folder(target) as (fresh, finish):
        if record.internlm2:
            convert_model(merged, fresh, progress=progress)
        else:
            _llama(merged, Path(record.base), fresh)
        check_folder(fresh)
        finish()
    return target


def _llama(merged: Path, base: Path, fresh: Path) -> None:
    """Take the weights from XTuner and all else from the base, as newer libraries wrote it."""
    for path in (path for pattern in _WEIGHTS for path in sorted(merged.glob(pattern))):
        shutil.move(path, fresh / path.name)
    for path in base.iterdir():
        if path.is_file() and path.suffix not in (".safetensors", ".bin") and ".index.json" not in path.name:
            shutil.copyfile(path, fresh / path.name)
    config = json.loads((fresh / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = "float16"
    (fresh / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
