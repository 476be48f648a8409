"""llama.cpp in this process: answers from a GGUF file, several at once where several are asked for.

The library brings its own server loop, with batches over all answers in work and a cache of prompt beginnings. It is
called without its HTTP side, which listens on the loopback interface all the same: a random key locks it.
"""

import os
import queue
import secrets
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elysia_chat.llm.answer_engine import Ended, FinishReason, Piece, room_for_answer
from elysia_chat.llm.errors import ModelError, ModelLoadError
from elysia_chat.llm.generation_queue import Stopped, never
from elysia_chat.llm.sampling import Sampling
from elysia_chat.llm.stop_strings import StopStrings

CONTEXT_TOKENS = 8192
# A prompt is computed in blocks of this many tokens; a caller who leaves is noticed between two of them.
_BLOCK_TOKENS = 256
# Prompts whose slot was needed for another conversation wait here for their next turn.
_PROMPT_CACHE_MIB = 256
_SILENT = -1
_RANDOM = 0xFFFFFFFF
# As in `sampling.Sampler`: the penalty first, then temperature, and what is left to choose from last.
_SAMPLERS = ("penalties", "temperature", "top_k", "top_p")
_PENALISED_TOKENS = 64


class _End:
    """Marks the end of what llama.cpp says."""


_END = _End()


class LlamaCppEngine:
    """Writes answers with llama.cpp.

    Args:
        gguf: the model.
        tokenizer: of transformers, whose token ids are the file's.
        context_tokens: longest prompt plus answer; unset: 8,192. The tokenizer's limit holds as well.
        parallel: answers in work at once; each has a context of its own.
        threads: that compute; unset: one for each core, and one less for the answer, whose speech needs it.

    Raises:
        ModelLoadError: llama.cpp cannot load the file.
    """

    def __init__(
        self,
        gguf: Path,
        tokenizer: Any,
        *,
        context_tokens: int | None = None,
        parallel: int = 1,
        threads: int | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.context_tokens: int | None = min(context_tokens or CONTEXT_TOKENS, tokenizer.model_max_length)
        self.parallel = parallel
        self._server = _start(gguf, self.context_tokens, parallel, threads)

    def answer(
        self, prompt: Sequence[Sequence[int]], sampling: Sampling, stopped: Stopped = never
    ) -> Iterator[Piece | Ended]:
        """Write an answer; see `AnswerEngine`. Of the prompt and the answer, the last 64 tokens are penalised.

        Raises:
            PromptTooLongError: the prompt fills the context.
            ModelError: llama.cpp refuses the request.
        """
        tokens = [token for chunk in prompt for token in chunk]
        room = room_for_answer(len(tokens), sampling.max_new_tokens, self.context_tokens)
        left = threading.Event()
        said = self._say(_request(tokens, sampling, room), lambda: left.is_set() or stopped())
        stops = StopStrings(sampling.stop)
        timings: dict[str, int] = {"cache_n": 0, "predicted_n": 0}
        reason: FinishReason = "length"
        try:
            for chunk in said:
                if stopped():
                    return
                text, reason = _read(chunk)
                timings |= chunk.get("timings", {})
                if shown := stops.push(text):
                    yield Piece(shown)
                if stops.met:
                    reason = "stop"
                    break
        finally:
            left.set()
            for _ in said:
                pass
        if shown := stops.flush():
            yield Piece(shown)
        yield Ended(reason, len(tokens), timings["cache_n"], timings["predicted_n"])

    def close(self) -> None:
        """Give memory and threads back; no answer may be in work."""
        self._server = None

    def _say(self, request: dict[str, Any], stopped: Stopped) -> Iterator[dict[str, Any]]:
        """Yield what llama.cpp calls back with; it computes in a thread of its own and ends there when told to."""
        chunks: queue.SimpleQueue[dict[str, Any] | Exception | _End] = queue.SimpleQueue()

        def take(chunk: dict[str, Any]) -> bool:
            chunks.put(chunk)
            return stopped()

        def compute() -> None:
            try:
                self._server.handle_completions(request, take)
            except (RuntimeError, ValueError, TypeError) as error:
                chunks.put(error)
            finally:
                chunks.put(_END)

        thread = threading.Thread(target=compute, name="llama.cpp", daemon=True)
        thread.start()
        while not isinstance(chunk := chunks.get(), _End):
            if isinstance(chunk, Exception):
                thread.join()
                msg = f"llama.cpp failed on this request: {chunk}"
                raise ModelError(msg) from chunk
            yield chunk
        thread.join()


def _start(gguf: Path, context_tokens: int, parallel: int, threads: int | None) -> Any:
    import xllamacpp

    if not gguf.is_file():
        msg = f"There is no file {gguf}."
        raise ModelLoadError(msg)
    settings = xllamacpp.CommonParams()
    settings.model.path = str(gguf)
    settings.n_ctx = context_tokens * parallel
    settings.n_parallel = parallel
    settings.n_batch = settings.n_ubatch = _BLOCK_TOKENS
    # Sliding layers keep everything as well, so that a prompt's beginning can be taken over at any length.
    settings.swa_full = True
    settings.cache_ram_mib = _PROMPT_CACHE_MIB
    settings.verbosity = _SILENT
    settings.api_keys = [secrets.token_urlsafe(32)]
    settings.endpoint_slots = settings.ui = False
    settings.cpuparams.n_threads = threads or max(1, _usable_cores() - 1)
    settings.cpuparams_batch.n_threads = threads or _usable_cores()
    try:
        server = xllamacpp.Server(settings)
        # Its loop runs for certain once it has answered; before that, giving the server up would wait for ever.
        server.handle_completions({"prompt": [0], "n_predict": 1, "cache_prompt": False})
    except (RuntimeError, ValueError) as error:
        msg = f"llama.cpp cannot load {gguf}: the file is damaged, of an unknown kind, or too large for the memory."
        raise ModelLoadError(msg) from error
    return server


def _usable_cores() -> int:
    """Return how many real cores this process may use; a second thread on a core does not speed llama.cpp up."""
    import psutil

    allowed = len(psutil.Process().cpu_affinity()) if hasattr(psutil.Process, "cpu_affinity") else os.cpu_count()
    return min(allowed or 1, psutil.cpu_count(logical=False) or allowed or 1)


def _request(tokens: list[int], sampling: Sampling, room: int) -> dict[str, Any]:
    return {
        "prompt": tokens,
        "n_predict": room,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": 0.0,
        "repeat_penalty": sampling.repetition_penalty,
        "repeat_last_n": _PENALISED_TOKENS,
        "seed": _RANDOM if sampling.seed is None else sampling.seed,
        "samplers": list(_SAMPLERS),
        "stream": True,
        "cache_prompt": True,
        # A sign of life for each block of the prompt, and with it the question whether the caller is still there.
        "return_progress": True,
        # The numbers of tokens with each piece, since an answer may end before llama.cpp's own end.
        "timings_per_token": True,
    }


def _read(chunk: dict[str, Any]) -> tuple[str, FinishReason]:
    """Return the text of what llama.cpp says, and why the answer is over where it is."""
    if "error" in chunk:
        msg = f"llama.cpp refuses this request: {chunk['error'].get('message', chunk['error'])}"
        raise ModelError(msg)
    choice = chunk["choices"][0]
    return choice["text"], "stop" if choice["finish_reason"] == "stop" else "length"
