"""The loss on the answer alone, without ever holding the logits of all positions.

With a vocabulary of 262,144 words the logits of 2,048 positions take 2 GiB in float32, and the usual loss holds several
such matrices at once. Here the model computes no logits at all: its hidden states are caught in front of its head, the
positions with a label are picked, and the head and the cross-entropy run over them chunk by chunk. Where the head is a
plain frozen or trained matrix, the gradient of each chunk is computed on the spot and the chunk forgotten (as in Cut
Your Losses, Wijmans et al. 2024, and Liger Kernel, Hsu et al. 2024); any other head (one with a LoRA or a bias, or one
that is split among GPUs) runs under checkpointing and is computed twice.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from elysia_chat.training.errors import PresetError

IGNORE = -100
CHUNK_BYTES = 128 * 2**20
"""Size of one chunk's logits in float32."""
# Factors on the logits that some architectures apply behind the head and that are not known here.
_UNKNOWN_SCALES = ("logit_scale", "logits_scaling", "lm_head_multiplier", "output_router_logits")


class LeanLossMixin:
    """Gives a transformers Trainer this loss: `class AnswerTrainer(LeanLossMixin, Trainer)`.

    The outputs it returns beside the loss have logits of no position, so evaluation must run with
    `prediction_loss_only=True`.
    """

    def compute_loss(
        self,
        model: nn.Module,
        inputs: Mapping[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Return the loss of a batch, and the outputs where they are wanted; as `Trainer.compute_loss` does."""
        trainer: Any = self
        loss, outputs = answer_loss(model, inputs, num_items_in_batch=num_items_in_batch)
        if (
            num_items_in_batch is not None
            and trainer.args.average_tokens_across_devices
            and trainer.model_accepts_loss_kwargs
        ):
            # The mean over processes that follows would divide by their number, which the count of items did already.
            processes = trainer.accelerator.num_processes // trainer.get_tp_size()
            loss = loss * (processes if trainer.args.n_gpu <= 1 else trainer.args.n_gpu)
        return (loss, outputs) if return_outputs else loss


def answer_loss(
    model: nn.Module,
    inputs: Mapping[str, Any],
    *,
    num_items_in_batch: Tensor | int | None = None,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Any]:
    """Compute the mean cross-entropy of the labelled positions.

    Args:
        model: a causal language model of transformers, bare, under PEFT, or wrapped for several GPUs.
        inputs: of its forward, with `labels` of shape (batch, length); -100 marks positions without a label. Labels
            are shifted here, as transformers does.
        num_items_in_batch: divides the sum instead of the number of labels in this batch; how gradient accumulation
            weighs every token alike.
        chunk_tokens: positions computed at once; unset: as many as have 128 MiB of logits.

    Returns:
        The loss, a scalar in float32, and the model's outputs, whose logits are of no position.

    Raises:
        PresetError: the model changes its logits in a way that is not known here.
    """
    following = functional.pad(inputs["labels"][:, 1:], (0, 1), value=IGNORE)
    forward = {key: value for key, value in inputs.items() if key != "labels"}
    return positions_loss(model, forward, following, num_items=num_items_in_batch, chunk_tokens=chunk_tokens)


def positions_loss(
    model: nn.Module,
    forward: Mapping[str, Any],
    following: Tensor,
    *,
    num_items: Tensor | int | None = None,
    chunk_tokens: int | None = None,
) -> tuple[Tensor, Any]:
    """Compute the mean cross-entropy of the tokens that follow some positions.

    Args:
        model: as for `answer_loss`.
        forward: inputs of its forward, without labels.
        following: the token that each position has to predict, (batch, length); -100 where it is not learned.
        num_items: divides the sum instead of the number of positions.
        chunk_tokens: as for `answer_loss`.

    Returns:
        The loss, a scalar in float32, and the model's outputs, whose logits are of no position.

    Raises:
        PresetError: the model changes its logits in a way that is not known here.
    """
    head = output_head(model)
    cap = _soft_cap(model)
    with _hidden_states_before(head) as caught:
        outputs = model(**forward)
    hidden = caught.pop()
    targets = following.to(hidden.device)
    wanted = targets != IGNORE
    states, targets = hidden[wanted], targets[wanted]
    total = _summed_loss(head, states, targets, cap, chunk_tokens)
    items = targets.numel() if num_items is None else num_items
    if isinstance(items, Tensor):
        items = items.to(total.device)
    elif items == 0:
        return total, outputs
    return total / items, outputs


def output_head(model: nn.Module) -> nn.Module:
    """Return the module that turns hidden states into logits, also where it wears an adapter."""
    from accelerate.utils import extract_model_from_parallel

    bare: Any = extract_model_from_parallel(model)
    head = bare.get_output_embeddings()
    if head is None:
        msg = f"{type(bare).__name__} has no output head: the loss needs a causal language model."
        raise PresetError(msg)
    module: nn.Module = head
    return module


@contextmanager
def _hidden_states_before(head: nn.Module) -> Iterator[list[Tensor]]:
    """Catch what the head is given, and give it no position to compute."""
    caught: list[Tensor] = []

    def catch(_module: nn.Module, arguments: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        caught.append(arguments[0])
        return (arguments[0][:, :0], *arguments[1:])

    # First of all hooks: those of DeepSpeed would tie the states that are caught to a head that never computes.
    handle = head.register_forward_pre_hook(catch, prepend=True)
    try:
        yield caught
    finally:
        handle.remove()


def _soft_cap(model: nn.Module) -> float | None:
    from accelerate.utils import extract_model_from_parallel

    bare: Any = extract_model_from_parallel(model)
    config = bare.config.get_text_config()
    for name in _UNKNOWN_SCALES:
        if getattr(config, name, None) not in (None, False, 1, 1.0):
            msg = f"The memory-lean loss does not know {name} of {config.model_type}: train it with the plain loss."
            raise PresetError(msg)
    cap = getattr(config, "final_logit_softcapping", None)
    return None if cap is None else float(cap)


def _summed_loss(
    head: nn.Module, states: Tensor, targets: Tensor, cap: float | None, chunk_tokens: int | None
) -> Tensor:
    """Sum the cross-entropies of `states` (positions, hidden) over `targets` (positions,)."""
    if hasattr(getattr(head, "weight", None), "ds_id"):
        return _split_loss(head, states, targets, cap, chunk_tokens)
    if not targets.numel():
        return states.float().sum() * 0.0
    if _is_plain(head):
        return _matrix_loss(head.weight, states, targets, cap, chunk_tokens)  # type: ignore[arg-type]
    size = chunk_tokens or max(1, CHUNK_BYTES // (_vocabulary(head) * 4))
    total = states.new_zeros((), dtype=torch.float32)
    for begin in range(0, len(targets), size):
        part = states[begin : begin + size], targets[begin : begin + size]
        total = total + checkpoint(_chunk_loss, head, *part, cap, use_reentrant=False)
    return total


def _matrix_loss(
    weight: Tensor, states: Tensor, targets: Tensor, cap: float | None, chunk_tokens: int | None
) -> Tensor:
    size = chunk_tokens or max(1, CHUNK_BYTES // (weight.shape[0] * 4))
    if torch.is_autocast_enabled(states.device.type):
        kind = torch.get_autocast_dtype(states.device.type)
        states, weight = states.to(kind), weight.to(kind)
    total: Tensor = _LinearCrossEntropy.apply(states, weight, targets, cap, size)  # type: ignore[no-untyped-call]
    return total


def _split_loss(
    head: nn.Module, states: Tensor, targets: Tensor, cap: float | None, chunk_tokens: int | None
) -> Tensor:
    """Compute with a head that DeepSpeed's ZeRO-3 has split among processes, gathered once by all of them.

    Raises:
        PresetError: the head is trained, or wears an adapter.
    """
    import deepspeed

    weight: Any = head.weight
    if type(head) is not nn.Linear or head.bias is not None or weight.requires_grad:
        msg = "With ZeRO-3 the output head has to be a frozen matrix: leave lm_head out of lora.targets, or use zero2."
        raise PresetError(msg)
    with deepspeed.zero.GatheredParameters([weight]):
        # Its gradient is computed on the spot, so that nothing asks for the whole matrix on the way back.
        whole = weight.detach().clone()
    return _matrix_loss(whole, states, targets, cap, chunk_tokens)


def _is_plain(head: nn.Module) -> bool:
    """Tell whether the head is one whole matrix with nothing around it."""
    return (
        type(head) is nn.Linear
        and head.bias is None
        and not hasattr(head, "_hf_hook")
        and not hasattr(head.weight, "device_mesh")
    )


def _vocabulary(head: nn.Module) -> int:
    return int(getattr(head, "out_features", 0)) or 2**17


def _chunk_loss(head: nn.Module, states: Tensor, targets: Tensor, cap: float | None) -> Tensor:
    logits = head(states).float()
    if cap is not None:
        logits = torch.tanh(logits / cap) * cap
    return functional.cross_entropy(logits, targets, reduction="sum")


class _LinearCrossEntropy(torch.autograd.Function):
    """Sum of cross-entropies of `states @ weight.T`, its gradients computed while each chunk's logits are there."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, cap: float | None, size: int) -> Tensor:
        needs_states, needs_weight = ctx.needs_input_grad[:2]
        total = states.new_zeros((), dtype=torch.float32)
        grad_states = torch.empty_like(states) if needs_states else None
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        for begin in range(0, len(targets), size):
            rows = slice(begin, begin + size)
            logits = (states[rows] @ weight.T).float()
            slope = None
            if cap is not None:
                logits = logits.div_(cap).tanh_()
                slope = 1 - logits.square() if needs_states or needs_weight else None
                logits = logits.mul_(cap)
            chosen = targets[rows, None]
            normaliser = logits.logsumexp(dim=-1, keepdim=True)
            total += (normaliser - logits.gather(-1, chosen)).sum()
            if grad_states is None and grad_weight is None:
                continue
            grad = logits.sub_(normaliser).exp_()
            grad.scatter_add_(-1, chosen, torch.full_like(chosen, -1.0, dtype=grad.dtype))
            grad = (grad if slope is None else grad.mul_(slope)).to(weight.dtype)
            if grad_states is not None:
                grad_states[rows] = grad @ weight
            if grad_weight is not None:
                grad_weight += grad.T @ states[rows]
        ctx.save_for_backward(grad_states, None if grad_weight is None else grad_weight.to(weight.dtype))
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_states, grad_weight = ctx.saved_tensors  # type: ignore[attr-defined]
        (scale,) = grads
        return (
            None if grad_states is None else grad_states * scale.to(grad_states.dtype),
            None if grad_weight is None else grad_weight * scale.to(grad_weight.dtype),
            None,
            None,
            None,
        )
