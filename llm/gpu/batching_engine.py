"""Many answers at a time: transformers' continuous batching, with sampling of our own and attention without a package.

Each step computes the next token of every answer in work and a piece of the prompts that have come, first come first
served. Beginnings that prompts share, such as a persona's, are computed once.
"""

import itertools
import logging
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import torch
from transformers import GenerationConfig, LogitsProcessorList
from transformers.generation.configuration_utils import ContinuousBatchingConfig
from transformers.generation.continuous_batching.cb_logits_processors import ContinuousBatchingLogitsProcessorList

from elysia_chat.llm.answer_engine import Ended, Piece, room_for_answer
from elysia_chat.llm.answer_text import AnswerText
from elysia_chat.llm.capacity import CONVERSATION_TOKENS
from elysia_chat.llm.errors import ModelError, ModelLoadError
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.gpu.batch_sampling import BatchSampler
from elysia_chat.llm.gpu.key_values import bytes_of_a_token
from elysia_chat.llm.gpu.norms import fuse_norms
from elysia_chat.llm.gpu.paged_attention import NAME, use_paged_attention
from elysia_chat.llm.gpu.steps import steady_positions
from elysia_chat.llm.model_facts import context_limit, end_tokens, tokens_with_fixed_positions
from elysia_chat.llm.sampling import Sampling, checked

log = logging.getLogger(__name__)

# More of a prompt in a step lets its answer begin sooner and all others wait longer.
PROMPT_TOKENS = 256
_PAGE_TOKENS = {"cpu": 32}
_GPU_PAGE_TOKENS = 256
_SHARE_FOR_CACHE = 0.7
# Between two pieces of a stream, in seconds, for each answer in work: fewer and longer pieces leave Python time for the
# batches.
_PIECE_INTERVAL_S = 0.0015
_POLL_S = 0.05


class BatchingEngine:
    """Writes many answers with one model at the same time, each asked for by a thread of its own.

    Sampling is each answer's own, from the 128 likeliest tokens at most. How much of a prompt was known already is
    not told by the library, and counts as nothing.

    Args:
        model: of transformers, in evaluation mode; `model_facts.is_attention_on_one_device` is true for it.
        tokenizer: its tokenizer.
        parallel: answers in work at once.
        context_tokens: longest prompt plus answer; the model's own limit holds as well.
        prompt_tokens: of all prompts together that a step computes.

    Raises:
        ModelLoadError: there is no memory for the keys and values.
        ModelError: the library cannot batch this model.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        parallel: int,
        context_tokens: int | None = None,
        prompt_tokens: int = PROMPT_TOKENS,
    ) -> None:
        self.parallel = parallel
        self.model = model
        self.tokenizer = tokenizer
        config = model.config.get_text_config()
        device = torch.device(model.device)
        page = _PAGE_TOKENS.get(device.type, _GPU_PAGE_TOKENS)
        pages = _pages(model, device, parallel, page)
        limits = [context_limit(config, context_tokens), tokens_with_fixed_positions(config), (pages - 1) * page]
        self.context_tokens: int | None = min(limit for limit in limits if limit is not None)
        self._end_tokens = sorted(end_tokens(model, tokenizer))
        self._interval_s = _PIECE_INTERVAL_S * parallel
        self._boxes: dict[str, _Box] = {}
        self._names = (f"answer-{number}" for number in itertools.count())
        self._sampler = BatchSampler(parallel, parallel, model.get_output_embeddings().weight.shape[0], device)
        self._as_before = ExitStack()
        self._as_before.enter_context(steady_positions(model))
        self._as_before.enter_context(_attention(model, device))
        rows = parallel + prompt_tokens
        self._manager = _manager(model, self._sampler, _config(model, device, parallel, rows, page, pages))
        # A thread begun by a daemon is one too, and does not hold up the end of the program.
        starter = threading.Thread(target=self._manager.start, daemon=True)
        starter.start()
        starter.join()
        self._reader = threading.Thread(target=self._hand_out, name="batched answers", daemon=True)
        self._reader.start()
        if device.type == "cuda":
            try:
                self._warm_up(rows)
            except ModelError:
                self.close()
                raise

    def answer(
        self, prompt: Sequence[Sequence[int]], sampling: Sampling, stopped: Stopped = never
    ) -> Iterator[Piece | Ended]:
        """Write an answer; see `AnswerEngine`.

        Raises:
            PromptTooLongError: the prompt fills the context.
            ModelError: the batching has broken down.
        """
        tokens = [token for chunk in prompt for token in chunk]
        room = room_for_answer(len(tokens), sampling.max_new_tokens, self.context_tokens)
        text = AnswerText(self.tokenizer, frozenset(self._end_tokens), sampling.stop, room)
        place = self._sampler.take_place(sampling)
        try:
            with closing(self._tokens(tokens, room, place, stopped)) as coming:
                for new in coming:
                    if shown := text.push(*new):
                        yield Piece(shown)
                    if text.finish_reason is not None:
                        break
        finally:
            numbers = self._sampler.give_place_back(place)
        checked(0 if numbers else -1)
        if text.finish_reason is None or stopped():
            return
        if shown := text.flush():
            yield Piece(shown)
        yield Ended(text.finish_reason, len(tokens), 0, len(text.tokens))

    def close(self) -> None:
        """End the batches; answers in work break off."""
        self._manager.stop(block=True, hard_stop=True)
        self._reader.join()
        self._manager.destroy()
        self._as_before.close()

    def _tokens(self, prompt: list[int], room: int, place: int, stopped: Stopped) -> Generator[list[int], None, None]:
        """Yield an answer's tokens as they come, some at a time; it is taken out of the batches when this is left."""
        name, box = next(self._names), _Box()
        self._boxes[name] = box
        known, over = 0, False
        try:
            given = self._manager.add_request(
                prompt, name, max_new_tokens=room, streaming=True, eos_token_id=self._end_tokens, place=place
            )
            if given is None:
                raise ModelError(_STOPPED)
            while not over and not stopped():
                output = box.wait(_POLL_S)
                if output is None:
                    continue
                over = output.is_finished()
                if output.error is not None:
                    msg = f"The model cannot go on with this answer: {output.error}"
                    raise ModelError(msg)
                yield output.generated_tokens[known:]
                known = len(output.generated_tokens)
                box.rest(self._interval_s)
        finally:
            del self._boxes[name]
            if not over:
                self._manager.cancel_request(name)

    def _hand_out(self) -> None:
        """Give each answer what the batches have made of it."""
        while self._manager.is_running():
            output = self._manager.get_result(timeout=_POLL_S)
            box = self._boxes.get(output.request_id) if output is not None else None
            if box is not None:
                box.put(output)
        for box in list(self._boxes.values()):
            box.put(_Broken())

    def _warm_up(self, rows: int) -> None:
        """Let every size of batch be captured before the first answer is asked for."""
        began = time.perf_counter()
        for end in range(min(_ROWS, rows), rows + 1, _ROWS):
            # The batches take turns with two sets of tensors: an answer of another length comes to the other one.
            for new in (2, 3):
                list(self.answer([[0] * (end - 1)], Sampling(max_new_tokens=new)))
        log.info("batches of up to %d tokens are ready after %.0f s", rows, time.perf_counter() - began)


class _Broken:
    """What an answer gets when the batches have ended."""

    error = "the batches have ended"
    generated_tokens: tuple[int, ...] = ()

    def is_finished(self) -> bool:
        return True


class _Box:
    """Holds the last that the batches have made of an answer, which contains all before it."""

    def __init__(self) -> None:
        self._came = threading.Event()
        self._output: Any = None

    def put(self, output: Any) -> None:
        self._output = output
        self._came.set()

    def wait(self, timeout_s: float) -> Any:
        """Return what came since the last call; None where nothing has."""
        if not self._came.wait(timeout_s):
            return None
        self._came.clear()
        return self._output

    def rest(self, seconds: float) -> None:
        """Let some more tokens come, unless that was the last."""
        if seconds and not self._output.is_finished():
            time.sleep(seconds)


_STOPPED = "The model has stopped after an error: start the program again, and look for the error in its log."
_ROWS = 64
"""A batch is filled up to a multiple of this, so that few sizes have to be captured."""


@contextmanager
def _attention(model: Any, device: torch.device) -> Iterator[None]:
    """On a GPU take flash attention where its package is installed, else our own; nothing is downloaded for it."""
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    if device.type != "cuda" or model.dtype not in (torch.bfloat16, torch.float16):
        yield
        return
    before = model.config._attn_implementation
    if is_flash_attn_3_available():
        model.set_attn_implementation("flash_attention_3")
    elif is_flash_attn_2_available():
        model.set_attn_implementation("flash_attention_2")
    else:
        use_paged_attention(model)
    fuse_norms(model)
    try:
        yield
    finally:
        model.config._attn_implementation = before


def _pages(model: Any, device: torch.device, parallel: int, page: int) -> int:
    """Return how many pages of keys and values there are: conversations of usual length, as far as memory goes.

    Raises:
        ModelLoadError: not even one conversation has room.
    """
    pages = parallel * -(-CONVERSATION_TOKENS // page)
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        pages = min(pages, int(free * _SHARE_FOR_CACHE) // (bytes_of_a_token(model) * page))
    if pages < 2:
        msg = "Too little GPU memory is left for conversations: set model.quantization=4bit, or take a smaller model."
        raise ModelLoadError(msg)
    return pages


def _config(
    model: Any, device: torch.device, parallel: int, rows: int, page: int, pages: int
) -> ContinuousBatchingConfig:
    config = ContinuousBatchingConfig(
        page_size=page,
        num_blocks=pages,
        max_batch_tokens=rows,
        max_requests_per_batch=parallel,
        auto_switch_to_flash=False,
    )
    if device.type != "cuda":
        config.use_cuda_graph, config.use_async_batching = False, False
    elif model.config._attn_implementation == NAME and not getattr(model.config, "sliding_window", None):
        # The past is read where it lies, however much of it is filled up: one size serves all.
        config.q_padding_interval_size, config.kv_padding_interval_size = _ROWS, page * pages
    return config


def _manager(model: Any, sampler: BatchSampler, config: ContinuousBatchingConfig) -> Any:
    generation = GenerationConfig(do_sample=False, eos_token_id=-1)
    manager = model.init_continuous_batching(generation_config=generation, continuous_batching_config=config)
    processors = ContinuousBatchingLogitsProcessorList(LogitsProcessorList([sampler]))
    processors.tensors_required = 1
    manager.logit_processor = processors
    return manager
