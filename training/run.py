"""Fine-tune a model with LoRA from a preset, and write the adapter with everything needed to repeat it."""

import hashlib
import json
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from elysia_chat.configs.paths import ensure_dir
from elysia_chat.training.errors import CheckpointError, PresetError
from elysia_chat.training.presets import Preset
from elysia_chat.training.tokens import Encoded, encode, lengths, read_examples

SETTINGS, RESULTS, ANSWERS, LOSS_PICTURE = "training.yaml", "results.json", "answers.jsonl", "loss.png"
ADAPTER = "adapter"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunResult:
    """What a run made.

    Attributes:
        adapter: folder of the PEFT adapter, with the resolved settings and the results.
        steps: optimiser steps done.
        skipped: steps left out because they were not finite.
        loss: mean of the last tenth of the logged losses.
        scores: shares of right answers by set, if prompts were given.
    """

    adapter: Path
    steps: int
    skipped: int
    loss: float
    scores: dict[str, Any]


def run_training(preset: Preset, out: Path, *, resume: bool = False, base: Path | None = None) -> RunResult:
    """Train an adapter.

    Args:
        preset: the resolved settings.
        out: folder for checkpoints, TensorBoard logs, answers and the adapter.
        resume: go on from the newest checkpoint in `out`, exactly as if there had been no break.
        base: folder of the base model, where it is not to be found by its name.

    Raises:
        PresetError: the preset does not fit the machine or the data.
        DataFileError: the data cannot be used.
        DivergedError: the loss stayed non-finite.
        CheckpointError: there is nothing to resume from.
    """
    import torch
    from peft.helpers import disable_input_dtype_casting

    torch.manual_seed(preset.train.seed)
    ensure_dir(out)
    device = pick_device(preset)
    folder = base or base_folder(preset.model.name)
    tokenizer, model = load_base(folder, preset, device)
    encoded, left_out, digest = _data(preset, tokenizer)
    model = add_adapter(model, preset)
    if not encoded:
        msg = f"The data file {preset.data.train} has no example of at most {preset.data.max_tokens} tokens."
        raise PresetError(msg)
    trainer, guard, evaluation = _trainer(preset, out, model, tokenizer, encoded)
    checkpoint = newest_checkpoint(out) if resume else None
    if resume and checkpoint is None:
        msg = f"There is no checkpoint to resume from in {out}."
        raise CheckpointError(msg)
    started = time.monotonic()
    with disable_input_dtype_casting(model):
        # Autocast chooses the type of each product; casting every input to the adapter's float32 first costs a third.
        trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
    seconds = time.monotonic() - started
    scores = evaluation.answer(trainer.state.global_step) if evaluation else {}
    history = [entry for entry in trainer.state.log_history if "loss" in entry]
    adapter = save_adapter(trainer.model, out / ADAPTER, base_name(preset))
    facts = {
        "base": preset.model.name, "data_sha256": digest, "examples": sum(item.examples for item in encoded),
        "sequences": len(encoded), "left_out": left_out,
        "tokens": int(lengths(encoded).sum()), "steps": trainer.state.global_step, "skipped_steps": guard.skipped,
        "seconds": round(seconds, 1), "epochs": round(float(trainer.state.epoch or 0), 3), "device": str(device),
        "loss": _last_loss(history), "scores": scores,
        "versions": _versions(),
    }  # fmt: skip
    _write_results(adapter, out, preset, facts, history)
    return RunResult(adapter, trainer.state.global_step, guard.skipped, facts["loss"], scores)


def pick_device(preset: Preset) -> Any:
    """Return the device to train on.

    Raises:
        PresetError: a GPU is asked for and there is none, or the dtype does not work on the device.
    """
    import torch

    wanted = preset.train.device
    if wanted not in ("auto", "cpu", "cuda"):
        msg = f"train.device must be auto, cpu or cuda, not '{wanted}'."
        raise PresetError(msg)
    if wanted == "cuda" and not torch.cuda.is_available():
        msg = "This preset needs a GPU, and none is found. Use train.device=cpu, or run it on a machine with a GPU."
        raise PresetError(msg)
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def base_folder(name: str) -> Path:
    """Return the folder of a base model: the embedded one by its name, others by path."""
    if name == "embedded":
        from elysia_chat.llm.embedded import embedded_model_folder

        return embedded_model_folder()
    return Path(name)


def base_name(preset: Preset) -> str:
    """Return what the adapter calls its base model: a name, no path of this machine."""
    return "gemma-3-270m" if preset.model.name == "embedded" else Path(preset.model.name).name


def load_base(folder: Path, preset: Preset, device: Any) -> tuple[Any, Any]:
    """Load tokenizer and frozen model.

    Raises:
        PresetError: the folder holds no model, or its tokenizer has no chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    dtype = {"bfloat16": torch.bfloat16, "float16": torch.float16, "float32": torch.float32}.get(preset.model.dtype)
    if dtype is None:
        msg = f"model.dtype must be bfloat16, float16 or float32, not '{preset.model.dtype}'."
        raise PresetError(msg)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(folder))
        model = AutoModelForCausalLM.from_pretrained(
            str(folder), dtype=dtype, attn_implementation=preset.model.attention
        )
    except (OSError, ValueError) as error:
        msg = f"There is no model to train in '{folder}': {str(error).splitlines()[0]}"
        raise PresetError(msg) from error
    if not tokenizer.chat_template:
        msg = f"The tokenizer in '{folder}' has no chat template: its prompts cannot be written."
        raise PresetError(msg)
    model.config.use_cache = False
    return tokenizer, model.to(device)


def add_adapter(model: Any, preset: Preset) -> Any:
    """Put LoRA weights in float32 on the model's linear layers.

    Raises:
        PresetError: the model has no layer of one of the names.
    """
    import torch
    from peft import LoraConfig, PeftModel, get_peft_model

    lora = preset.lora
    present = {name.rpartition(".")[2] for name, _ in model.named_modules()}
    missing = sorted(set(lora.targets) - present)
    if missing:
        msg = f"This preset is for another model: it has no layers called {', '.join(missing)} (lora.targets)."
        raise PresetError(msg)
    config = LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets),
        bias="none",
        task_type="CAUSAL_LM",
    )
    if preset.train.gradient_checkpointing:
        model.gradient_checkpointing_enable()
        model.enable_input_require_grads()
    if lora.start:
        if not (Path(lora.start) / "adapter_config.json").is_file():
            msg = f"Cannot go on from the adapter {lora.start}: there is none in that folder."
            raise CheckpointError(msg)
        try:
            tuned = PeftModel.from_pretrained(model, lora.start, is_trainable=True)
        except (OSError, ValueError, RuntimeError) as error:
            msg = f"Cannot go on from the adapter {lora.start}: {str(error).splitlines()[0]}"
            raise CheckpointError(msg) from error
        # By the name alone peft would look the base up on a hub whenever it saves.
        tuned.active_peft_config.base_model_name_or_path = model.name_or_path
    else:
        tuned = get_peft_model(model, config)
    for parameter in tuned.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.to(torch.float32)
    if preset.train.compile:
        for layer in model.get_decoder().layers:
            layer.compile(dynamic=True)
    return tuned


def newest_checkpoint(out: Path) -> Path | None:
    """Return the newest whole checkpoint of a run; one cut short by a crash is passed over."""
    found = sorted(out.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    return next(
        (
            path
            for path in found
            if (path / "trainer_state.json").is_file() and (path / "adapter_model.safetensors").is_file()
        ),
        None,
    )


def save_adapter(model: Any, folder: Path, base: str) -> Path:
    """Write the adapter in bfloat16, into a folder that appears whole or not at all."""
    import shutil

    import torch

    partial = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(partial, ignore_errors=True)
    from peft import get_peft_model_state_dict

    state = {
        name: value.detach().to("cpu", torch.bfloat16).contiguous()
        for name, value in get_peft_model_state_dict(model).items()
    }
    model.save_pretrained(str(partial))
    from safetensors.torch import save_file

    save_file(state, str(partial / "adapter_model.safetensors"), metadata={"format": "pt"})
    _plain_config(partial / "adapter_config.json", base)
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)
    return folder


def _plain_config(path: Path, base: str) -> None:
    """Name the base model in the adapter's configuration, in place of this machine's path to it."""
    config = json.loads(path.read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = base
    config["target_modules"] = sorted(config["target_modules"])
    config["inference_mode"] = True
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    (path.parent / "README.md").unlink(missing_ok=True)


def _data(preset: Preset, tokenizer: Any) -> tuple[list[Encoded], int, str]:
    if not preset.data.train:
        msg = "No data: give data.train=FILE, a JSONL file of examples."
        raise PresetError(msg)
    path = Path(preset.data.train)
    encoded, left_out = encode(tokenizer, read_examples(path), preset.data.max_tokens)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    return encoded, left_out, digest.hexdigest()


def _pad(tokenizer: Any) -> int:
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def _trainer(preset: Preset, out: Path, model: Any, tokenizer: Any, encoded: list[Encoded]) -> tuple[Any, Any, Any]:
    import torch
    from transformers import TrainingArguments

    from elysia_chat.training.prompt_callback import PromptCallback
    from elysia_chat.training.trainer import AnswerTrainer, FiniteGuard

    train, cuda = preset.train, next(model.parameters()).device.type == "cuda"
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
        optim="adamw_torch_fused" if cuda else "adamw_torch",
        save_steps=train.save_steps,
        save_total_limit=train.save_limit,
        logging_steps=train.log_steps,
        logging_nan_inf_filter=False,
        report_to=["tensorboard"] if _has("tensorboard") else [],
        remove_unused_columns=False,
        label_names=["labels"],
        disable_tqdm=True,
        accelerator_config={"even_batches": False},
    )
    torch.backends.cuda.matmul.allow_tf32 = True
    guard = FiniteGuard(train.non_finite_patience)
    evaluation = PromptCallback(preset.evaluate, model, tokenizer, out / ANSWERS) if preset.evaluate.prompts else None
    callbacks: list[Any] = [guard, *([evaluation] if evaluation else [])]
    trainer = AnswerTrainer(model, arguments, encoded=encoded, part=train, pad=_pad(tokenizer), callbacks=callbacks)
    return trainer, guard, evaluation


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _last_loss(history: list[dict[str, Any]]) -> float:
    losses = [float(entry["loss"]) for entry in history if math.isfinite(entry["loss"])]
    last = losses[-max(1, len(losses) // 10) :]
    return round(sum(last) / len(last), 5) if last else math.nan


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers", "peft", "accelerate")}


def _write_results(
    adapter: Path, out: Path, preset: Preset, facts: dict[str, Any], history: list[dict[str, Any]]
) -> None:
    resolved = json.loads(json.dumps(preset.to_dict()))
    for part, key in (("data", "train"), ("evaluate", "prompts"), ("model", "name"), ("lora", "start")):
        resolved[part][key] = Path(resolved[part][key]).name
    settings = yaml.safe_dump(resolved, allow_unicode=True, sort_keys=False)
    for folder in (adapter, out):
        (folder / SETTINGS).write_text(settings, encoding="utf-8")
        (folder / RESULTS).write_text(json.dumps(facts, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    if _has("matplotlib") and history:
        draw_loss(history, adapter / LOSS_PICTURE)


def draw_loss(history: list[dict[str, Any]], path: Path) -> None:
    """Draw the logged losses over the steps."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    axes.plot([entry["step"] for entry in history], [entry["loss"] for entry in history], linewidth=1)
    axes.set_xlabel("step")
    axes.set_ylabel("loss on the answers")
    axes.set_yscale("log")
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
