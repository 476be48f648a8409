"""transformers' Trainer with the loss on the answer alone, batches under a token budget, and a guard of the numbers."""

import logging
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from elysia_chat.training.batches import EncodedDataset, TokenBudgetSampler, collate
from elysia_chat.training.errors import DivergedError
from elysia_chat.training.tokens import Encoded, lengths

_log = logging.getLogger(__name__)


def answer_loss(model: Any, inputs: dict[str, torch.Tensor], items: Any = None) -> torch.Tensor:
    """Return the cross entropy of the answers' tokens.

    Logits are computed at the positions that predict an answer alone: with a vocabulary of 262,144 words those of the
    whole prompt would take tens of gigabytes.

    Args:
        model: a causal language model.
        inputs: from `batches.collate`.
        items: number of answer tokens to divide by; unset: those of this batch.

    Returns:
        A scalar, float32.
    """
    labels = inputs["labels"]
    width = labels.shape[1]
    logits = model(
        input_ids=inputs["input_ids"],
        attention_mask=inputs["attention_mask"],
        logits_to_keep=width + 1,
        use_cache=False,
    ).logits[:, -width - 1 : -1]
    wanted = labels != -100
    total = torch.nn.functional.cross_entropy(logits[wanted].float(), labels[wanted], reduction="sum")
    return total / (items if items is not None else wanted.sum())


class FiniteGuard(TrainerCallback):
    """Leaves out steps whose gradients are not finite, counts them, and stops after several in a row."""

    def __init__(self, patience: int) -> None:
        self.patience = patience
        self.skipped = 0
        self.in_a_row = 0

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:  # noqa: ARG002
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


class AnswerTrainer(Trainer):
    """Trains on answers; see `answer_loss` and `TokenBudgetSampler`."""

    def __init__(self, *args: Any, encoded: list[Encoded], budget: int, pad: int, **kwargs: Any) -> None:
        self._encoded, self._budget, self._pad = encoded, budget, pad
        super().__init__(*args, train_dataset=EncodedDataset(encoded), **kwargs)
        self.model_accepts_loss_kwargs = True

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:  # noqa: ARG002, FBT001, FBT002
        """Compute the loss of the answers."""
        items = num_items_in_batch
        if items is not None and self.args.world_size > 1:
            items = items / self.args.world_size
        return answer_loss(model, inputs, items)

    def get_train_dataloader(self) -> Any:
        """Return batches of similar length."""
        sampler = TokenBudgetSampler(lengths(self._encoded), self._budget, self.args.seed, self.args.world_size)
        pad = self._pad
        loader: DataLoader[Any] = DataLoader(
            self.train_dataset,  # type: ignore[arg-type]
            batch_sampler=sampler,  # type: ignore[arg-type]
            collate_fn=lambda items: collate(items, pad),
            pin_memory=torch.cuda.is_available(),
        )
        return self.accelerator.prepare(loader)
