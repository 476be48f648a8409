"""Fine-tune a model with LoRA from a preset, and write the adapter with everything needed to repeat it."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.training import records
from elysia_chat.training.adapters import empty_model
from elysia_chat.training.base import (
    add_adapter,
    base_name,
    base_source,
    check_base,
    check_shape,
    load_base,
    pick_device,
)
from elysia_chat.training.checkpoints import newest_checkpoint, save_adapter
from elysia_chat.training.distributed import deepspeed_settings, is_split
from elysia_chat.training.errors import CheckpointError, PresetError
from elysia_chat.training.fit import check_disk, check_memory, paged
from elysia_chat.training.presets import Preset
from elysia_chat.training.tokens import (
    PROMPTS_FILE,
    TEST_FILE,
    TRAIN_FILE,
    Encoded,
    encode,
    join,
    lengths,
    read_data,
)

ADAPTER, ANSWERS = "adapter", "answers.jsonl"
Progress = Callable[[int, int, float | None], None]
"""Told (steps done, steps in all, loss where one was logged)."""


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        adapter: folder of the PEFT adapter, with the resolved settings and the results.
        steps: optimiser steps done.
        skipped: steps left out because they were not finite.
        loss: mean of the last tenth of the logged losses.
        scores: shares of right answers by set, if prompts were given.
        facts: everything that `results.json` holds.
    """

    adapter: Path
    steps: int
    skipped: int
    loss: float
    scores: dict[str, Any]
    facts: dict[str, Any]


def run_training(
    preset: Preset, out: Path, *, resume: bool = False, base: Path | None = None, progress: Progress | None = None
) -> RunResult:
    """Train an adapter.

    Args:
        preset: the resolved settings.
        out: folder for checkpoints, TensorBoard logs, answers and the adapter.
        resume: go on from the newest checkpoint in `out`, exactly as if there had been no break.
        base: folder of the base model, where it is not to be found by its name.
        progress: told how far it is.

    Raises:
        PresetError: the preset does not fit the machine, the model or the data.
        DataFileError: the data cannot be used.
        DivergedError: the loss stayed non-finite.
        CheckpointError: there is nothing to resume from, or a checkpoint cannot be written.
        AdapterError: the adapter to go on from belongs to another model.
    """
    import torch

    preset = with_data_folder(preset)
    if not preset.data.train:
        msg = "No data: give data.train=FILE, a JSONL file of examples, or the folder that `train dataset` wrote."
        raise PresetError(msg)
    device = pick_device(preset)
    source = base_source(str(base or preset.model.name))
    check_base(source)
    name, shape = base_name(preset, source), empty_model(source)
    check_shape(shape, preset, name)
    check_memory(shape, preset, device)
    ensure_dir(out)
    check_disk(shape, preset, out)
    checkpoint = _checkpoint(out, resume)
    records.check_unchanged(out, preset, resume)
    arguments = _arguments(preset, out, device.type == "cuda")
    torch.manual_seed(preset.train.seed)
    tokenizer, model = load_base(source, preset, device)
    data = _data(preset, tokenizer)
    model = add_adapter(model, preset)
    trainer, guard, evaluation = _trainer(preset, arguments, model, tokenizer, data, progress)
    main = trainer.is_world_process_zero()
    if main:
        records.write_settings(out, preset, data.digest)
    started = time.monotonic()
    _train(trainer, model, checkpoint, out)
    seconds = time.monotonic() - started
    scores = evaluation.answer(trainer.state.global_step) if evaluation and main else {}
    history = [entry for entry in trainer.state.log_history if "loss" in entry or "eval_loss" in entry]
    facts = {
        "base": name, "data_sha256": data.digest,
        "examples": sum(item.examples for item in data.train), "sequences": len(data.train), "left_out": data.left_out,
        "tokens": int(lengths(data.train).sum()), "steps": trainer.state.global_step, "skipped_steps": guard.skipped,
        "seconds": round(seconds, 1), "epochs": round(float(trainer.state.epoch or 0), 3), "device": device.type,
        "processes": arguments.world_size, "loss": records.last_loss(history),
        "held_out_loss": records.last(history, "eval_loss"), "peak_memory_gb": _peak(device),
        "scores": scores, "versions": records.versions(preset),
    }  # fmt: skip
    state = trainer.accelerator.get_state_dict(trainer.deepspeed) if is_split(preset) else None
    adapter = out / ADAPTER
    if main:
        save_adapter(trainer.accelerator.unwrap_model(trainer.model), adapter, name, state)
        records.write_results(adapter, out, preset, facts, history)
    return RunResult(adapter, facts["steps"], guard.skipped, facts["loss"], scores, facts)


def with_data_folder(preset: Preset) -> Preset:
    """Take training data, held-out data and prompts from the folder that `train dataset` wrote, if one is given."""
    folder = Path(preset.data.train)
    if not preset.data.train or not (folder / TRAIN_FILE).is_file():
        return preset
    test, prompts = folder / TEST_FILE, folder / PROMPTS_FILE
    data = replace(preset.data, train=str(folder / TRAIN_FILE))
    if not data.test and test.is_file() and test.stat().st_size:
        data = replace(data, test=str(test))
    evaluate = preset.evaluate
    if not evaluate.prompts and prompts.is_file() and prompts.stat().st_size and not is_split(preset):
        evaluate = replace(evaluate, prompts=str(prompts))
    return replace(preset, data=data, evaluate=evaluate)


@dataclass(frozen=True)
class _Data:
    train: list[Encoded]
    test: list[Encoded]
    left_out: int
    digest: str


def _data(preset: Preset, tokenizer: Any) -> _Data:
    import numpy as np

    path, limit = Path(preset.data.train), preset.data.max_tokens
    train, left_out = encode(tokenizer, read_data(path), limit)
    if not train:
        msg = f"The data in {path} has no example of at most {limit} tokens."
        raise PresetError(msg)
    if preset.data.packing:
        order = np.random.default_rng(preset.train.seed).permutation(len(train))
        train = join([train[index] for index in order], limit)
    test: list[Encoded] = []
    if preset.data.test:
        test = encode(tokenizer, read_data(Path(preset.data.test)), limit)[0][: preset.data.test_sequences]
    return _Data(train, test, left_out, records.digest(path))


def _checkpoint(out: Path, resume: bool) -> Path | None:
    checkpoint = newest_checkpoint(out)
    if resume and checkpoint is None:
        msg = f"There is no checkpoint to resume from in {out}."
        raise CheckpointError(msg)
    if checkpoint is not None and not resume:
        msg = f"{out} holds checkpoints of an earlier run: go on with --resume, or choose another folder."
        raise CheckpointError(msg)
    return checkpoint


def _train(trainer: Any, model: Any, checkpoint: Path | None, out: Path) -> None:
    import torch
    from peft.helpers import disable_input_dtype_casting

    # Autocast chooses the type of each product; casting every input to the adapter's float32 first costs a third.
    # DeepSpeed switches autocast off.
    casting = disable_input_dtype_casting(model) if trainer.args.bf16 and not trainer.args.deepspeed else nullcontext()
    try:
        with casting:
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    except torch.OutOfMemoryError as error:
        where = f"go on with --resume from {out}" if newest_checkpoint(out) else "begin again"
        msg = (
            f"The GPU's memory ran out at step {trainer.state.global_step + 1}: lower train.batch_tokens or set "
            f"train.gradient_checkpointing=true, and {where}."
        )
        raise PresetError(msg) from error


def _arguments(preset: Preset, out: Path, cuda: bool) -> Any:
    import torch
    from transformers import TrainingArguments

    train = preset.train
    torch.backends.cuda.matmul.allow_tf32 = True
    arguments = TrainingArguments(
        output_dir=str(out),
        learning_rate=train.learning_rate,
        gradient_accumulation_steps=train.accumulation,
        num_train_epochs=train.epochs,
        max_steps=train.max_steps or -1,
        weight_decay=train.weight_decay,
        adam_beta2=train.beta2,
        max_grad_norm=train.max_grad_norm,
        seed=train.seed,
        data_seed=train.seed,
        bf16=preset.model.dtype == "bfloat16",
        use_cpu=not cuda,
        optim="paged_adamw_8bit" if paged(preset, "cuda" if cuda else "cpu") else _adamw(cuda),
        save_steps=train.save_steps,
        save_total_limit=train.save_limit,
        logging_steps=train.log_steps,
        logging_nan_inf_filter=False,
        report_to=["tensorboard"] if records.has("tensorboard") else [],
        eval_strategy="steps" if preset.data.test else "no",
        eval_steps=train.save_steps,
        prediction_loss_only=True,
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        ddp_find_unused_parameters=False,
        deepspeed=deepspeed_settings(preset),
        accelerator_config={"even_batches": False},
    )
    # Several GPUs without torchrun: transformers would split each batch among them in one process.
    arguments._n_gpu = min(1, arguments.n_gpu)
    return arguments


def _adamw(cuda: bool) -> str:
    return "adamw_torch_fused" if cuda else "adamw_torch"


def _trainer(
    preset: Preset, arguments: Any, model: Any, tokenizer: Any, data: _Data, progress: Progress | None
) -> tuple[Any, Any, Any]:
    from elysia_chat.training.prompt_callback import PromptCallback
    from elysia_chat.training.trainer import AnswerTrainer, FiniteGuard, Teller

    guard = FiniteGuard(preset.train.non_finite_patience)
    evaluation = None
    if preset.evaluate.prompts:
        evaluation = PromptCallback(preset.evaluate, model, tokenizer, Path(arguments.output_dir) / ANSWERS)
    callbacks: list[Any] = [guard, *([evaluation] if evaluation else []), *([Teller(progress)] if progress else [])]
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
    trainer = AnswerTrainer(
        model, arguments, encoded=data.train, held_out=data.test, part=preset.train, pad=int(pad), callbacks=callbacks
    )
    return trainer, guard, evaluation


def _peak(device: Any) -> float | None:
    import torch

    return round(torch.cuda.max_memory_allocated(device) / 1e9, 3) if device.type == "cuda" else None
