"""transformers' Trainer with the loss on the answer alone, batches under a token budget, and a guard of the numbers."""

import logging
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from accelerate.utils import extract_model_from_parallel
from torch.utils.data import DataLoader
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_callback import ExportableState

from elysia_chat.training.batches import EncodedDataset, TokenBudgetSampler, collate
from elysia_chat.training.checkpoints import StagedCheckpoints
from elysia_chat.training.errors import DivergedError
from elysia_chat.training.loss import positions_loss
from elysia_chat.training.presets import TrainPart
from elysia_chat.training.tokens import Encoded, lengths

_log = logging.getLogger(__name__)


def attention_masks(
    segments: torch.Tensor, parents: torch.Tensor, positions: torch.Tensor, window: int | None
) -> torch.Tensor:
    """Return which tokens see which, (batch, 1, length, length), bool.

    A token sees itself, and of those before it its own segment and the beginning that belongs to it; with a window only
    as far back as that, by the positions that the tokens would have if their example stood by itself.
    """
    length = segments.shape[1]
    order = torch.arange(length, device=segments.device)
    before = order[None, :] <= order[:, None]
    seen = (segments[:, None, :] == parents[:, :, None]) | (segments[:, None, :] == segments[:, :, None])
    mask = before[None] & seen
    if window is not None:
        mask &= positions[:, :, None] - positions[:, None, :] < window
    return (mask | torch.eye(length, dtype=torch.bool, device=segments.device)[None])[:, None]


def packed_loss(model: Any, inputs: dict[str, torch.Tensor], items: Any = None) -> torch.Tensor:
    """Return the cross entropy of the tokens that are to be learned.

    Logits are computed at the positions that predict one of them alone, chunk by chunk: with a vocabulary of 262,144
    words those of the whole prompt would take tens of gigabytes.

    Args:
        model: a causal language model, bare, with an adapter, or wrapped for several GPUs.
        inputs: from `batches.collate`.
        items: number of tokens to divide by; unset: those of this batch.

    Returns:
        A scalar, float32.
    """
    config = extract_model_from_parallel(model).config.get_text_config()
    segments, positions = inputs["segments"], inputs["position_ids"]
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    masks = {
        kind: attention_masks(segments, inputs["parents"], positions, window if kind == "sliding_attention" else None)
        for kind in kinds
    }
    forward = {
        "input_ids": inputs["input_ids"],
        "attention_mask": masks if "sliding_attention" in kinds else masks["full_attention"],
        "position_ids": positions,
        "use_cache": False,
    }
    return positions_loss(model, forward, inputs["labels"], num_items=items)[0]


class Clock(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Ends a run after so many seconds, with the learning rate brought down in time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock."""
        self.started = time.monotonic()

    def share(self) -> float:
        """Return how much of the time has passed, from 0 to 1."""
        return min(1.0, (time.monotonic() - self.started) / self.seconds) if self.started else 0.0

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Stop when the time is over."""
        if self.share() >= 1.0:
            control.should_training_stop = True


def cosine(optimizer: Any, steps: int, warmup: int, end_share: float, clock: Clock | None) -> Any:
    """Return a schedule: linear warm-up, then a cosine over the steps, or over the time where that runs out first."""

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        done = (step - warmup) / max(1, steps - warmup)
        if clock is not None:
            done = max(done, clock.share())
        return end_share + (1 - end_share) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


class FiniteGuard(TrainerCallback, ExportableState):  # type: ignore[misc,unused-ignore]
    """Leaves out steps whose gradients are not finite, counts them, and stops after several in a row.

    Its counts are kept in checkpoints.
    """

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        counts = {"skipped": self.skipped, "in_a_row": self.in_a_row}
        return {"args": {"patience": self.patience}, "attributes": counts}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take up the counts of the checkpoint that is resumed."""
        kept = state.stateful_callbacks.get(type(self).__name__) if state.global_step else None
        if isinstance(kept, dict):
            for name, value in kept.get("attributes", {}).items():
                setattr(self, name, value)

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Drop the gradients of a step that went wrong; the optimiser leaves parameters without gradients alone."""
        parameters = [item for item in kwargs["model"].parameters() if item.grad is not None]
        norm = torch.nn.utils.get_total_norm([item.grad for item in parameters])
        if bool(torch.isfinite(norm)):
            self.in_a_row = 0
            return
        for item in parameters:
            item.grad = None
        self.skipped += 1
        self.in_a_row += 1
        _log.warning(
            "Step %d left out: its gradients are not finite (%d in a row).", state.global_step + 1, self.in_a_row
        )
        if self.in_a_row >= self.patience:
            msg = (
                f"The loss has not been finite for {self.in_a_row} steps in a row (step {state.global_step + 1}). "
                "Lower train.learning_rate, or use model.dtype=float32; checkpoints before this are whole."
            )
            raise DivergedError(msg)


class Teller(TrainerCallback):  # type: ignore[misc,unused-ignore]
    """Tells how far a run is: (steps done, steps in all, loss where one was logged)."""

    def __init__(self, tell: Callable[[int, int, float | None], None]) -> None:
        self.tell = tell

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell where it begins."""
        self.tell(state.global_step, state.max_steps, None)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell that a step is done."""
        self.tell(state.global_step, state.max_steps, None)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Tell the loss."""
        loss = (kwargs.get("logs") or {}).get("loss")
        if loss is not None:
            self.tell(state.global_step, state.max_steps, float(loss))


class AnswerTrainer(StagedCheckpoints, Trainer):  # type: ignore[misc,unused-ignore]
    """Trains on answers; see `packed_loss`, `TokenBudgetSampler`, `cosine` and `StagedCheckpoints`."""

    def __init__(
        self,
        *args: Any,
        encoded: list[Encoded],
        held_out: list[Encoded],
        part: TrainPart,
        pad: int,
        **kwargs: Any,
    ) -> None:
        self._encoded, self._held_out, self._part, self._pad = encoded, held_out, part, pad
        self._clock = Clock(part.seconds) if part.seconds else None
        callbacks = [*kwargs.pop("callbacks", []), *([self._clock] if self._clock else [])]
        self.lr_scheduler: Any = None
        super().__init__(
            *args,
            train_dataset=EncodedDataset(encoded),
            eval_dataset=EncodedDataset(held_out) if held_out else None,
            callbacks=callbacks,
            **kwargs,
        )
        self.model_accepts_loss_kwargs = True
        # Labels stand at the position that predicts them; transformers would leave the first out when it counts.
        self._loss_shifts_labels = False
        self.remove_callback(PrinterCallback)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Compute the loss of the answers."""
        with torch.autocast(inputs["input_ids"].device.type, torch.bfloat16, enabled=self.args.bf16):
            loss = packed_loss(model, inputs, num_items_in_batch)
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            # The mean over processes that follows would divide by their number, which the count of items did already.
            loss = loss * self.accelerator.num_processes
        return (loss, {}) if return_outputs else loss

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Create the schedule of the learning rate."""
        if self.lr_scheduler is None:
            warmup = max(1, round(self._part.warmup_share * num_training_steps))
            if self._clock:
                warmup = min(warmup, 100)
            chosen = optimizer if optimizer is not None else self.optimizer
            self.lr_scheduler = cosine(chosen, num_training_steps, warmup, self._part.end_share, self._clock)
        return self.lr_scheduler

    def get_train_dataloader(self) -> Any:
        """Return batches of similar length, of which each process gets its part."""
        return self.accelerator.prepare(self._loader(self.train_dataset, self._encoded, self.args.world_size))

    def get_eval_dataloader(self, eval_dataset: Any = None) -> Any:
        """Return the held-out data in batches of similar length, all of them to every process.

        Processes with different numbers of batches would wait for each other for ever.
        """
        return self._loader(self.eval_dataset, self._held_out, 1)

    def _loader(self, dataset: Any, encoded: list[Encoded], replicas: int) -> Any:
        pad = self._pad
        loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=TokenBudgetSampler(lengths(encoded), self._part.batch_tokens, self.args.seed, replicas),
            collate_fn=lambda items: collate(items, pad),
            pin_memory=torch.cuda.is_available(),
        )
        return loader
