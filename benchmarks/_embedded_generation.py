"""The embedded model on a CPU: by our chat model, by llama.cpp alone on the same file, and by transformers."""

import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from first_token import messages

from elysia_chat.configs.settings import GenerationSettings, ModelSettings
from elysia_chat.llm import embedded
from elysia_chat.llm.adapter import embedded_adapter
from elysia_chat.llm.build import build_chat_model
from elysia_chat.llm.gguf_cache import gguf_file

ANSWER = 64


def embedded_parts(threads: int, rounds: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what is measured; the engines take turns, so that whatever else the machine does meets them all."""
    yield "embedded model, tokens a second", lambda: compared(threads, rounds)


def compared(threads: int, rounds: int) -> dict[str, Any]:
    folder = embedded.embedded_model_folder()
    file = gguf_file(folder, embedded_adapter())
    generation = GenerationSettings(max_new_tokens=ANSWER, repetition_penalty=1.0)
    ours = build_chat_model(ModelSettings(engine="llama.cpp", threads=threads, parallel=1), generation)
    other = build_chat_model(ModelSettings(engine="transformers", device="cpu", threads=threads), generation)
    prompts = [ours._prompt.tokens(messages(number)) for number in range(rounds + 1)]
    alone = Alone(file, threads)
    found: dict[str, list[float]] = {"ours": [], "llama.cpp alone": [], "transformers": []}
    for number, tokens in enumerate(prompts):
        figures = (of_chat(ours, number), alone.answer(tokens), of_chat(other, number))
        if number:
            for values, figure in zip(found.values(), figures, strict=True):
                values.append(figure)
    ours.close()
    other.close()
    medians = {name: statistics.median(values) for name, values in found.items()}
    ratios = [one / raw for one, raw in zip(found["ours"], found["llama.cpp alone"], strict=True)]
    return {**medians, "ours to llama.cpp alone": statistics.median(ratios)}


def of_chat(chat: Any, number: int) -> float:
    """Return the tokens a second after the first text."""
    first, tokens = 0.0, 0
    for chunk in chat.stream(messages(number)):
        if not first and chunk.text:
            first = time.perf_counter()
        if chunk.usage_metadata is not None:
            tokens = chunk.usage_metadata["output_tokens"]
    return (tokens - 1) / (time.perf_counter() - first)


class Alone:
    """llama.cpp's own server loop, asked for an answer as it comes from the model, with nothing of ours around it."""

    def __init__(self, file: Path, threads: int) -> None:
        import xllamacpp

        settings = xllamacpp.CommonParams()
        settings.model.path = str(file)
        settings.n_ctx, settings.n_parallel, settings.verbosity = 8192, 1, -1
        settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = threads
        self._server = xllamacpp.Server(settings)

    def answer(self, tokens: list[int]) -> float:
        """Return the tokens a second after the prompt, by llama.cpp's own clock."""
        request = {"prompt": tokens, "n_predict": ANSWER, "temperature": 0.0, "repeat_penalty": 1.0, "stream": False}
        said = self._server.handle_completions(request)
        return float(said["timings"]["predicted_per_second"])
