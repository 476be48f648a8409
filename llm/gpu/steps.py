"""The computation of one token, captured once as a CUDA graph and replayed: launching it costs nothing then.

Without a GPU the same steps run as they are.
"""

import inspect
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch

from elysia_chat.llm.gpu.key_values import KeyValues
from elysia_chat.llm.gpu.llama_step import LlamaStep, fits, kernel_error
from elysia_chat.llm.model_facts import tokens_with_fixed_positions

log = logging.getLogger(__name__)

_WARM_UP = 3
_TIMED = 20
# Relative difference of logits in 16 bits that were summed in another order; those of a wrong computation differ by
# about 1.
_ROUNDING = 0.2


class Step(Protocol):
    """Computes `logits` from `tokens`, which it counts among those that the memory holds.

    Attributes:
        tokens: shape (1, rows).
        last: which of them the logits come after, shape (1,).
        logits: shape (1, vocabulary).
    """

    tokens: torch.Tensor
    last: torch.Tensor
    logits: torch.Tensor

    def __call__(self) -> None:
        """Compute."""
        ...


class Forward:
    """The forward of a model, with logits for one token alone.

    Args:
        model: of transformers.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._one_logit = "logits_to_keep" in inspect.signature(model.forward).parameters

    def __call__(self, tokens: torch.Tensor, last: torch.Tensor, cache: Any) -> torch.Tensor:
        """Compute some tokens, shape (1, rows), and return the logits after one of them, shape (1, vocabulary)."""
        options = {"logits_to_keep": last} if self._one_logit else {}
        logits: torch.Tensor = self._model(input_ids=tokens, past_key_values=cache, use_cache=True, **options).logits
        return logits[:, -1] if self._one_logit else logits.index_select(1, last)[:, 0]


class ModelStep:
    """Some tokens by the model's own forward, over the memory up to a bound.

    Args:
        forward: of the model.
        memory: where keys and values are kept.
        bound: up to where it is read, in tokens.
        rows: number of tokens.
        like: logits, for their shape, number format and device.
    """

    def __init__(self, forward: Forward, memory: KeyValues, bound: int, rows: int, like: torch.Tensor) -> None:
        self._forward, self._cache = forward, memory.cache(bound)
        self.tokens = torch.zeros((1, rows), dtype=torch.long, device=like.device)
        self.last = torch.full((1,), rows - 1, dtype=torch.long, device=like.device)
        self.logits = torch.empty_like(like)

    def __call__(self) -> None:
        """Compute `logits` from `tokens`."""
        self.logits.copy_(self._forward(self.tokens, self.last, self._cache))


class CapturedStep:
    """A step as a CUDA graph: the same kernels on the same tensors, launched at once.

    Args:
        step: that always works on the same tensors.
        memory: cut back to where it was, after the runs that capturing needs.
        pool: of memory that graphs share which never run at the same time.

    Raises:
        RuntimeError: the step does something that cannot be captured, such as waiting for a number.
    """

    def __init__(self, step: Step, memory: KeyValues, pool: Any) -> None:
        # The graph works on the step's tensors, and would go on to do so after they were given back.
        self._step = step
        self.tokens, self.last, self.logits = step.tokens, step.last, step.logits
        length = int(memory.lengths[0])
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP):
                step()
                memory.cut(length)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool, capture_error_mode="thread_local"):
            step()
        memory.cut(length)

    def __call__(self) -> None:
        """Compute `logits` from `tokens`."""
        self._graph.replay()


class Steps:
    """The steps of each size for each bound of the memory, captured on a GPU, kept for good.

    Args:
        model: of transformers.
        memory: where keys and values are kept.
    """

    def __init__(self, model: Any, memory: KeyValues) -> None:
        self.forward = Forward(model)
        self._memory = memory
        vocabulary = model.get_output_embeddings().weight.shape[0]
        self._like = torch.empty((1, vocabulary), dtype=model.dtype, device=model.device)
        self._pool = torch.cuda.graph_pool_handle() if model.device.type == "cuda" else None
        self._made: dict[tuple[int, int], Step] = {}
        self._token_step = self._quicker(model) if self._pool is not None else None

    def step(self, rows: int, end: int) -> Step:
        """Return the step of so many tokens at the end of a text of so many.

        Raises:
            RuntimeError: the step cannot be captured.
        """
        if rows == 1 and self._token_step is not None:
            return self._token_step
        key = rows, self._memory.bound(end)
        if key not in self._made:
            self._made[key] = self._make(*key)
        return self._made[key]

    def prepare(self, sizes: Sequence[int]) -> None:
        """Make the steps of these sizes for all bounds.

        Raises:
            RuntimeError: a step cannot be captured.
        """
        for bound in reversed(self._memory.bounds):
            for rows in sizes:
                self.step(rows, bound)

    def _make(self, rows: int, bound: int) -> Step:
        return self._captured(ModelStep(self.forward, self._memory, bound, rows, self._like))

    def _captured(self, step: Step) -> Step:
        return step if self._pool is None else CapturedStep(step, self._memory, self._pool)

    def _quicker(self, model: Any) -> Step | None:
        """Return the step of kernels made for Llamas, where the model is one and they are right and quicker."""
        if not fits(model):
            return None
        # First of all, since it lays the weights anew, and a graph captured before reads them where they were.
        llama = LlamaStep(model, self._memory)
        usual = self._made[1, self._memory.bounds[0]] = self._make(1, self._memory.bounds[0])
        try:
            quick = self._captured(llama)
        except (RuntimeError, kernel_error()) as error:
            log.warning("The kernels made for Llamas do not run here, so the usual ones do: %s", error)
            return None
        (usual_ms, expected), (quick_ms, logits) = self._timed(usual), self._timed(quick)
        difference = float((logits - expected).norm() / expected.norm())
        log.info("a token: %.2f ms, by kernels made for Llamas %.2f ms", usual_ms, quick_ms)
        if difference > _ROUNDING:
            log.warning("The kernels made for Llamas compute something else here, so the usual ones are taken.")
        return quick if quick_ms < usual_ms and difference <= _ROUNDING else None

    def _timed(self, step: Step) -> tuple[float, torch.Tensor]:
        """Return the milliseconds of a step, and the logits after some tokens."""
        for token in range(_WARM_UP):
            step.tokens.fill_(token)
            step()
        logits = step.logits.float().clone()
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(_TIMED):
            step()
        end.record()
        end.synchronize()
        self._memory.cut(0)
        return begin.elapsed_time(end) / _TIMED, logits


@contextmanager
def steady_positions(model: Any) -> Iterator[None]:
    """Let RoPE be what it is for texts within the trained length, without asking the device for their length."""
    turning = [part for part in model.modules() if "dynamic" in _rope_types(part)]
    if tokens_with_fixed_positions(model.config.get_text_config()) is None or not turning:
        yield
        return
    kinds = [part.rope_type for part in turning]
    for part in turning:
        part.rope_type = _default(part.rope_type)
    try:
        yield
    finally:
        for part, kind in zip(turning, kinds, strict=True):
            part.rope_type = kind


def _rope_types(part: Any) -> Sequence[str]:
    kinds = getattr(part, "rope_type", ())
    return tuple(kinds.values()) if isinstance(kinds, dict) else (kinds,) if isinstance(kinds, str) else ()


def _default(kind: Any) -> Any:
    return dict.fromkeys(kind, "default") if isinstance(kind, dict) else "default"
