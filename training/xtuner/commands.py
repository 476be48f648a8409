"""What the front ends call: XTuner's environment, and each step from a preset to an adapter or model of the chat.

Everything heavy is imported inside; nothing of XTuner is imported at all.
"""

import math
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from elysia_chat.training.xtuner.environment import (
    Environment,
    Told,
    build_environment,
    find_environment,
    ready_environment,
)
from elysia_chat.training.xtuner.errors import XtunerError
from elysia_chat.training.xtuner.recipe import load_recipe, recipe_names
from elysia_chat.training.xtuner.run_folder import (
    BASE,
    CONFIG,
    DATA,
    LOGS,
    WORK,
    XTUNER_ADAPTER,
    RunRecord,
    history,
    newest_checkpoint,
    read_record,
    summary,
    write_record,
)
from elysia_chat.training.xtuner.tools import Progress, run_tool, talk

__all__ = [
    "Environment",
    "Told",
    "Trained",
    "build_environment",
    "chat",
    "check",
    "convert",
    "find_environment",
    "merge",
    "recipe_names",
    "train",
    "write_config",
]

_SAFE = "--safe-serialization"


@dataclass(frozen=True)
class Trained:
    """What a run came to.

    Attributes:
        folder: of the run.
        checkpoint: the newest one.
        facts: iterations, loss, seconds an iteration, peak memory.
    """

    folder: Path
    checkpoint: Path
    facts: Mapping[str, Any]


def write_config(name: str, changes: Sequence[str], out: Path, *, overwrite: bool = False) -> RunRecord:
    """Make the folder of a run: the config, its data, its base.

    Args:
        name: of a recipe or a preset, or a YAML file of either.
        changes: `part.key=value`, as for `train run`, and `xtuner.key=value`.
        out: the folder.
        overwrite: replace what `config` made there before; a trained run is never replaced.

    Raises:
        PresetError: the preset is unknown, or XTuner cannot do what it says.
        DataFileError: the data has the wrong shape; the message names the line.
        XtunerError: the model is not here or of another kind, or there is a run in the folder.
        ModelLoadError, ConversionError: the model's files are damaged.
    """
    from elysia_chat.llm.chat_prompt import ChatPrompt
    from elysia_chat.training import records
    from elysia_chat.training.errors import PresetError
    from elysia_chat.training.xtuner.base_folder import find_base, prepare_base
    from elysia_chat.training.xtuner.config import Place, config_text, values
    from elysia_chat.training.xtuner.data import write_data

    preset, recipe = load_recipe(name, changes)
    if not preset.data.train:
        msg = "No data: give data.train=FILE, or the folder that `train dataset` wrote."
        raise PresetError(msg)
    source, base = Path(preset.data.train), find_base(preset.model.name)
    _check_place(out, overwrite)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = prepare_base(base, out / BASE)
    pretraining = recipe.format == "pretrain" or not recipe.template
    data = write_data(
        source,
        out / DATA,
        recipe.format,
        tokenizer=tokenizer,
        disarm=str if pretraining and not tokenizer.chat_template else ChatPrompt(tokenizer).disarm,
        max_tokens=preset.data.max_tokens,
    )
    internlm2 = _is_internlm2(base)
    rows = data.tokens // preset.data.max_tokens if preset.data.packing else data.records
    place = Place(BASE, DATA, data.format, internlm2, rows, out.name)
    written = values(preset, recipe, place)
    (out / CONFIG).write_text(config_text(preset, recipe, place, f"{name}: {base.name}"), encoding="utf-8")
    records.write_settings(out, preset, records.digest(source))
    record = RunRecord(
        recipe=name,
        base=str(base),
        base_name=base.name,
        internlm2=internlm2,
        bits=preset.model.bits,
        template="" if data.format == "pretrain" else recipe.template,
        format=data.format,
        records=data.records,
        left_out=data.left_out,
        iterations=0 if written["max_iterations"] else rows // written["batch_size"] * written["epochs"],
        warmup=written["warmup"],
        epochs=written["epochs"],
        deepspeed=preset.train.deepspeed,
    )
    write_record(out, record)
    return record


def check(folder: Path, say: Callable[[str], None]) -> None:
    """Let XTuner look at the data of a config: what is told shows an example in each of its forms.

    Raises:
        XtunerSetupError: the environment is not there.
        XtunerError: XTuner refuses the data.
    """
    read_record(folder)
    run_tool(ready_environment(), ["check-custom-dataset", CONFIG], folder, _log(folder, "check"), say=say)


def train(
    folder: Path,
    *,
    deepspeed: str = "",
    resume: bool = False,
    launcher: str = "",
    options: Sequence[str] = (),
    progress: Progress | None = None,
) -> Trained:
    """Train with XTuner.

    Args:
        folder: of the run.
        deepspeed: "zero1", "zero2", "zero3", or a DeepSpeed settings file; "" for what the preset says.
        resume: go on from the newest checkpoint.
        launcher: "slurm" or "mpi" where such a one starts the processes.
        options: `key=value` of the config that differ from it.
        progress: told how far it is.

    Raises:
        XtunerSetupError: the environment is not there.
        XtunerError: XTuner failed, or the run has checkpoints already and is not resumed.
    """
    record = read_record(folder)
    environment = ready_environment()
    checkpoint = newest_checkpoint(folder)
    if resume and checkpoint is None:
        msg = f"There is no checkpoint to resume from in {folder}."
        raise XtunerError(msg)
    if checkpoint is not None and not resume:
        msg = f"{folder} holds checkpoints of an earlier run: go on with --resume, or choose another folder."
        raise XtunerError(msg)
    words = ["train", CONFIG, "--work-dir", WORK]
    chosen = deepspeed or record.deepspeed
    if chosen:
        words += ["--deepspeed", _deepspeed(chosen)]
    if checkpoint is not None:
        words += ["--resume", str(checkpoint.relative_to(folder))]
    if launcher:
        words += ["--launcher", launcher]
    given = [*_longer_warmup(record, launcher), *options]
    if given:
        words += ["--cfg-options", *given]
    run_tool(environment, words, folder, _log(folder, "train"), progress=progress)
    made = newest_checkpoint(folder)
    if made is None:
        msg = f"XTuner wrote no checkpoint (all that it said: {_log(folder, 'train')})."
        raise XtunerError(msg)
    return Trained(folder, made, summary(history(folder)))


def convert(folder: Path, checkpoint: Path | None = None) -> Path:
    """Make an adapter of a checkpoint with XTuner, and give its layers the names of the chat's model.

    Args:
        folder: of the run.
        checkpoint: unset: the newest one.

    Returns:
        The adapter's folder, which `train merge`, `train evaluate` and the chat take.

    Raises:
        XtunerSetupError: the environment is not there.
        XtunerError: there is no checkpoint, or XTuner failed.
        ConversionError, AdapterError: what XTuner wrote cannot be mapped.
    """
    from elysia_chat.training import records
    from elysia_chat.training.presets import load_preset
    from elysia_chat.training.xtuner.handover import take_adapter

    record = read_record(folder)
    chosen = checkpoint or newest_checkpoint(folder)
    if chosen is None or not chosen.exists():
        msg = f"There is no checkpoint {chosen or f'in {folder}'}: train first."
        raise XtunerError(msg)
    shutil.rmtree(folder / XTUNER_ADAPTER, ignore_errors=True)
    words = ["convert", "pth_to_hf", CONFIG, str(chosen.resolve()), XTUNER_ADAPTER, "--fp32", _SAFE]
    run_tool(ready_environment(), words, folder, _log(folder, "convert"))
    adapter = take_adapter(folder, record)
    entries = history(folder)
    facts = {"trainer": "xtuner", "checkpoint": chosen.name, **asdict(record), **summary(entries)}
    facts["base"] = record.base_name
    preset = load_preset(str(folder / records.SETTINGS))
    records.write_results(adapter, folder, preset, facts, entries)
    return adapter


def merge(
    folder: Path, output: Path, *, overwrite: bool = False, progress: Callable[[str], None] = lambda _what: None
) -> Path:
    """Merge a run's adapter into its 16-bit base with XTuner, and write the result as a model of the chat.

    Raises:
        XtunerSetupError: the environment is not there.
        XtunerError: there is no adapter, the disk has no room, or XTuner failed.
        ConversionError, ModelLoadError: what XTuner wrote cannot be read.
    """
    from elysia_chat.configs.files import check_free, check_target
    from elysia_chat.training.xtuner.handover import take_merged

    record = read_record(folder)
    check_target(output, overwrite, XtunerError)
    if not (folder / XTUNER_ADAPTER).is_dir():
        msg = f"{folder} has no adapter yet: elysia-chat train xtuner convert {folder}"
        raise XtunerError(msg)
    size = sum(path.stat().st_size for path in (folder / BASE).iterdir())
    check_free(output, 2 * size, XtunerError)
    between = (folder / ".merged").resolve()
    shutil.rmtree(between, ignore_errors=True)
    try:
        progress("merging with XTuner")
        words = ["convert", "merge", BASE, XTUNER_ADAPTER, str(between), _SAFE]
        run_tool(ready_environment(), words, folder, _log(folder, "merge"))
        progress("writing it as a Llama")
        return take_merged(between, output, record)
    finally:
        shutil.rmtree(between, ignore_errors=True)


def chat(folder: Path, options: Sequence[str] = ()) -> int:
    """Talk with a run's adapter in XTuner's own chat, in this terminal; return its exit status.

    Raises:
        XtunerSetupError: the environment is not there.
        XtunerError: the folder is no run.
    """
    record = read_record(folder)
    words = ["chat", BASE]
    if (folder / XTUNER_ADAPTER).is_dir():
        words += ["--adapter", XTUNER_ADAPTER]
    if record.template:
        words += ["--prompt-template", record.template]
    if record.bits == 4:
        words += ["--bits", "4"]
    return talk(ready_environment(), [*words, *options], folder)


def _check_place(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        msg = f"{out} is no folder."
        raise XtunerError(msg)
    if newest_checkpoint(out) is not None:
        msg = f"{out} holds a trained run: choose another folder."
        raise XtunerError(msg)
    if out.is_dir() and any(out.iterdir()):
        if not overwrite:
            msg = f"{out} exists already: choose another name, or allow it to be overwritten."
            raise XtunerError(msg)
        # Only what was made by this command may be replaced.
        read_record(out)


def _is_internlm2(base: Path) -> bool:
    from elysia_chat.llm.internlm2.convert import is_internlm2

    return is_internlm2(base)


def _longer_warmup(record: RunRecord, launcher: str) -> list[str]:
    """Return the options with which several processes, that make fewer iterations each, still have a warm-up."""
    from elysia_chat.training.xtuner.config import warmup

    names = {"": ("NNODES", "NPROC_PER_NODE"), "slurm": ("SLURM_NTASKS",), "mpi": ("OMPI_COMM_WORLD_SIZE",)}[launcher]
    processes = math.prod(int(os.environ.get(name) or 1) for name in names)
    if processes == 1 or not record.iterations:
        return []
    share = warmup(record.warmup, record.iterations // processes)
    if share == record.warmup:
        return []
    end = share * record.epochs
    return [f"param_scheduler.0.end={end}", f"param_scheduler.1.begin={end}"]


def _deepspeed(given: str) -> str:
    if given in ("zero1", "zero2", "zero3"):
        return f"deepspeed_{given}"
    path = Path(given)
    if not path.is_file():
        msg = f"--deepspeed is zero1, zero2, zero3 or a DeepSpeed settings file, not '{given}'."
        raise XtunerError(msg)
    return str(path.resolve())


def _log(folder: Path, name: str) -> Path:
    return folder / LOGS / f"{name}.log"
