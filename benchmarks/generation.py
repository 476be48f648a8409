"""Tokens a second: one stream, many sessions, and the second turn of a long conversation.

On a GPU, with random weights of the real shapes. The whole programme, a process for each of its parts, takes about six
minutes on an H200:

    python benchmarks/generation.py --programme --json generation.json

Its parts, the first being one stream of 512 tokens in and 256 out, against `model.generate`:

    python benchmarks/generation.py --shape internlm2-7b --random
    python benchmarks/generation.py --shape internlm2-1.8b --random --bits 4 --measure stream
    python benchmarks/generation.py --shape internlm2-7b --random --reuse
    python benchmarks/generation.py --shape internlm2-7b --random --sessions 64 --requests 256

A picture of what was written:

    python benchmarks/generation.py --draw benchmarks/results/generation_h200.json docs/images/generation.png

On a CPU the embedded model, by our chat model with llama.cpp, by llama.cpp alone on the same file, and by transformers:

    python benchmarks/generation.py --device cpu --threads 2

Everything is streamed through the chat model that the program itself uses. "Share" is what part of the memory's speed
is reached, as measured in the same run, if each token reads each weight once. What fails is told and left out.
"""

import argparse
import gc
import json
import logging
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import torch
from _shapes import SHAPES, WORD, bytes_of_a_token, random_model, tokenizer
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, SystemMessage

from elysia_chat.llm.engines import choose_engine
from elysia_chat.llm.transformers_chat import TransformersChatModel

PROMPT, ANSWER, CONVERSATION = 512, 256, 4000
GREEDY = {"temperature": 0.0}
WARM = {"temperature": 0.7, "top_p": 0.9, "top_k": 50}
FAILURES = (RuntimeError, ValueError, ImportError, AttributeError, TypeError, OSError)


def chat_model(model: Any, words: Any, parallel: int = 1) -> TransformersChatModel:
    engine = choose_engine(model, words, context_tokens=8192, parallel=parallel)
    print(f"  engine: {type(engine).__name__}", flush=True)
    return TransformersChatModel(engine=engine, model_name="random", max_new_tokens=ANSWER, queue=1024)


def filled(chat: TransformersChatModel, messages: list[BaseMessage], tokens: int, seed: int) -> list[BaseMessage]:
    """Return messages whose last one is filled up with words until the prompt has so many tokens."""
    missing = tokens - chat.get_num_tokens_from_messages(messages)
    known = sorted(word for word in chat.engine.tokenizer.get_vocab() if len(word) == WORD and word.isalpha())
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(len(known), (missing,), generator=generator).tolist()
    *before, last = messages
    return [*before, type(last)(f"{last.content}{''.join(known[word] for word in words)}")]


def prompt(chat: TransformersChatModel, seed: int, tokens: int = PROMPT) -> list[BaseMessage]:
    return filled(chat, [SystemMessage(f"You are number {seed}."), HumanMessage("")], tokens, seed)


def streamed(chat: TransformersChatModel, messages: list[BaseMessage], **options: Any) -> dict[str, float]:
    """Return the seconds to the first text and to the end, and the number of tokens."""
    begin, first, tokens = time.perf_counter(), None, 0
    for chunk in chat.stream(messages, **options):
        if first is None and chunk.text:
            first = time.perf_counter() - begin
        if chunk.usage_metadata is not None:
            tokens = chunk.usage_metadata["output_tokens"]
    end = time.perf_counter() - begin
    return {"first_s": end if first is None else first, "seconds": end, "tokens": tokens}


def rates(runs: list[dict[str, float]]) -> dict[str, float]:
    """Return medians: tokens a second from the question to the end, and from the first text on."""
    return {
        "tokens_per_s": statistics.median(run["tokens"] / run["seconds"] for run in runs),
        "decode_tokens_per_s": statistics.median(
            (run["tokens"] - 1) / (run["seconds"] - run["first_s"]) for run in runs
        ),
        "first_s": statistics.median(run["first_s"] for run in runs),
        "tokens": runs[0]["tokens"],
    }


def one_stream(model: Any, words: Any, rounds: int) -> dict[str, Any]:
    """Our chat model, greedy and sampled, one answer at a time."""
    begin = time.perf_counter()
    chat = chat_model(model, words)
    ready = time.perf_counter() - begin
    found: dict[str, Any] = {"engine": type(chat.engine).__name__, "ready_s": ready}
    for name, options in (("greedy", GREEDY), ("sampled", {**WARM, "seed": 1})):
        runs = [streamed(chat, prompt(chat, number), **options) for number in range(rounds + 1)]
        found[name] = rates(runs[1:])
    chat.close()
    return found


def generated(model: Any, implementation: str | None, rounds: int) -> dict[str, Any]:
    """`model.generate` itself, without a stream."""
    ids = torch.randint(300, 2000, (1, PROMPT), device=model.device)
    options: dict[str, Any] = {"do_sample": False, "pad_token_id": 0, "max_new_tokens": ANSWER}
    options["min_new_tokens"] = ANSWER
    if implementation is not None:
        options["cache_implementation"] = implementation
    mask = torch.ones_like(ids)
    seconds = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        with torch.inference_mode():
            model.generate(ids, attention_mask=mask, **options)
        synchronize(model.device)
        seconds.append(time.perf_counter() - begin)
    return {"first_call_s": seconds[0], "tokens_per_s": ANSWER / statistics.median(seconds[1:])}


def second_turn(model: Any, words: Any, rounds: int) -> dict[str, Any]:
    """Seconds to the first text of a conversation's next turn, with what is kept of it and without."""
    chat = chat_model(model, words)
    found: dict[str, list[float]] = {"cold_s": [], "reused_s": []}
    reused = 0
    for number in range(rounds + 1):
        talk: list[BaseMessage] = [SystemMessage(f"You are number {number}."), HumanMessage("")]
        talk = filled(chat, talk, CONVERSATION, number)
        answer = chat.invoke(talk, max_new_tokens=64)
        talk = [*talk, AIMessage(answer.text), HumanMessage("And what came after that? Tell me in a word or two.")]
        warm = next_token(chat, talk)
        reused = max(reused, warm["reused"])
        chat.engine.close()  # forgets the conversation, and no more
        cold = next_token(chat, talk)
        if number:
            found["reused_s"].append(warm["first_s"])
            found["cold_s"].append(cold["first_s"])
    chat.close()
    medians = {name: statistics.median(values) for name, values in found.items()}
    return {**medians, "times_sooner": medians["cold_s"] / medians["reused_s"], "reused_tokens": reused}


def next_token(chat: TransformersChatModel, messages: list[BaseMessage]) -> dict[str, Any]:
    begin = time.perf_counter()
    answer = chat.invoke(messages, max_new_tokens=1)
    seconds = time.perf_counter() - begin
    assert answer.usage_metadata is not None
    return {"first_s": seconds, "reused": answer.usage_metadata["input_token_details"]["cache_read"]}


def sessions(model: Any, words: Any, count: int, requests: int) -> dict[str, Any]:
    """Sessions that each ask the next question when the last is answered; then one question of each of 256 at once."""
    begin = time.perf_counter()
    chat = chat_model(model, words, parallel=count)
    found: dict[str, Any] = {"engine": type(chat.engine).__name__, "ready_s": time.perf_counter() - begin}
    asked = [prompt(chat, 1000 + number) for number in range(requests + count)]
    together(chat, asked[requests:], count, 32)  # once without counting
    found["sessions"] = together(chat, asked[:requests], count, ANSWER)
    found["all_at_once"] = together(chat, asked[:requests], requests, ANSWER)
    chat.close()
    return found


def together(chat: TransformersChatModel, asked: list[list[BaseMessage]], callers: int, answer: int) -> dict[str, Any]:
    ready = threading.Barrier(callers + 1)
    failed: list[str] = []

    def call(number: int) -> list[dict[str, float]]:
        ready.wait()
        runs = []
        for messages in asked[number::callers]:
            try:
                runs.append(streamed(chat, messages, max_new_tokens=answer, **GREEDY))
            except FAILURES as error:
                failed.append(f"{type(error).__name__}: {error}")
        return runs

    with ThreadPoolExecutor(callers) as threads:
        calls = [threads.submit(call, number) for number in range(callers)]
        ready.wait()
        begin = time.perf_counter()
        runs = [run for one in calls for run in one.result()]
        seconds = time.perf_counter() - begin
    first = sorted(run["first_s"] for run in runs)
    percentile = {f"first_p{share}_s": first[min(len(first) - 1, len(first) * share // 100)] for share in (50, 90, 99)}
    tokens = sum(run["tokens"] for run in runs)
    return {"tokens_per_s": tokens / seconds, "tokens": tokens, "seconds": seconds, **percentile, "failed": failed}


def memory_speed(device: torch.device) -> float:
    """Return the bytes a second that a matrix times a vector reads; 0 without a GPU."""
    if device.type != "cuda":
        return 0.0
    matrix = torch.ones((32768, 65536), dtype=torch.bfloat16, device=device)
    vector = torch.ones(65536, dtype=torch.bfloat16, device=device)
    seconds = []
    for _ in range(8):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.mv(matrix, vector)
        end.record()
        end.synchronize()
        seconds.append(begin.elapsed_time(end) / 1000)
    return matrix.numel() * 2 / min(seconds)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Report:
    """Results as they come, written after each, so that none is lost."""

    def __init__(self, path: Path | None, device: torch.device) -> None:
        self.path = path
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
        self.results: dict[str, Any] = {"device": name, "torch": torch.__version__}

    def add(self, results: dict[str, Any]) -> None:
        """Write results down."""
        self.results |= results
        if self.path is not None:
            self.path.write_text(json.dumps(self.results, indent=2) + "\n", encoding="utf-8")

    def take(self, name: str, measure: Callable[[], Any]) -> None:
        """Measure something, and write it down even where it fails."""
        print(name, flush=True)
        begin = time.perf_counter()
        try:
            result = measure()
        except FAILURES as error:
            result = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(f"  {json.dumps(result, default=str)}  ({time.perf_counter() - begin:.0f} s)", flush=True)
        self.add({name: result})
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def loaded(options: argparse.Namespace, shape: str, bits: int) -> tuple[Any, Any]:
    device = torch.device(options.device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    return random_model(shape, device, dtype, bits), tokenizer(SHAPES[shape]["vocab_size"])


def parts(options: argparse.Namespace) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield what was asked for, all of it of one model."""
    model, words = loaded(options, options.shape, options.bits)
    name = f"{options.shape}, {options.bits} bits"
    speed = memory_speed(model.device)

    def stream() -> dict[str, Any]:
        found = one_stream(model, words, options.rounds)
        found["bytes_of_a_token"] = bytes_of_a_token(model)
        if speed:
            found["memory_bytes_per_s"] = speed
            found["share"] = found["greedy"]["decode_tokens_per_s"] * found["bytes_of_a_token"] / speed
        return found

    found: dict[str, Callable[[], Any]] = {
        "stream": stream,
        "reuse": lambda: second_turn(model, words, options.rounds),
        "sessions": lambda: sessions(model, words, options.sessions or 64, options.requests),
        "generate": lambda: generated(model, None, 1),
        "static generate": lambda: generated(model, "static", 1),
    }
    for measured in options.measure:
        yield f"{name}: {measured}", found[measured]


MEASURES = ("stream", "reuse", "sessions", "generate", "static generate")
# Each in a process of its own: one that breaks off leaves the others alone.
PROGRAMME = (
    ("internlm2-7b", 16, ("stream", "reuse")),
    ("internlm2-7b", 16, ("sessions",)),
    ("internlm2-1.8b", 16, ("stream",)),
    ("internlm2-7b", 4, ("stream",)),
    ("internlm2-7b", 16, ("generate", "static generate")),
)
LONGEST_S = 170


def programme(report: Report, options: argparse.Namespace) -> None:
    with TemporaryDirectory() as folder:
        for shape, bits, measures in PROGRAMME:
            written = Path(folder) / "part.json"
            command = [
                sys.executable,
                __file__,
                "--device",
                options.device,
                "--random",
                "--rounds",
                str(options.rounds),
            ]
            command += ["--shape", shape, "--bits", str(bits), "--requests", str(options.requests)]
            command += ["--json", str(written), "--measure", *measures]
            try:
                code = subprocess.run(command, timeout=LONGEST_S, check=False).returncode
                if code:
                    print(f"  ended with exit code {code}", flush=True)
            except subprocess.TimeoutExpired:
                print(f"  ended after {LONGEST_S} s", flush=True)
            if written.exists():
                report.add(json.loads(written.read_text(encoding="utf-8")))
                written.unlink()


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw the tokens a second of one stream, by model and by what computes it."""
    from matplotlib.figure import Figure

    bars = {}
    for name, found in results.items():
        model, _, measure = name.partition(": ")
        if isinstance(found, dict) and "generate" in measure:
            bars[f"{model}\ntransformers, {measure}"] = found["tokens_per_s"]
        elif isinstance(found, dict) and measure == "stream":
            bars[f"{model}\nElysia Chat, streamed"] = found["greedy"]["tokens_per_s"]
    figure = Figure(figsize=(7, 0.6 + 0.5 * len(bars)), layout="constrained")
    axes = figure.subplots()
    axes.bar_label(axes.barh(list(bars), list(bars.values()), height=0.6), fmt="{:.0f}", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel(f"tokens a second, one stream, {PROMPT} in and {ANSWER} out, {results['device']}")
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shape", default="internlm2-7b", choices=list(SHAPES))
    parser.add_argument("--bits", type=int, default=16, choices=[16, 4])
    parser.add_argument("--random", action="store_true", help="random weights of the shape; else the embedded model")
    parser.add_argument("--measure", nargs="+", choices=MEASURES, default=["stream", "generate", "static generate"])
    parser.add_argument("--sessions", type=int, help="measure so many at once")
    parser.add_argument("--requests", type=int, default=256, help="of all sessions together")
    parser.add_argument("--reuse", action="store_true", help="measure the second turn of a long conversation")
    parser.add_argument("--programme", action="store_true", help="all that there is for a GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2, help="on a CPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--draw", nargs=2, type=Path, metavar=("JSON", "PICTURE"), help="draw figures written before")
    options = parser.parse_args()
    if options.draw:
        draw(json.loads(options.draw[0].read_text(encoding="utf-8")), options.draw[1])
        return
    if options.sessions or options.reuse:
        options.measure = ["reuse"] * options.reuse + ["sessions"] * bool(options.sessions)
    torch.set_num_threads(options.threads)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("elysia_chat").setLevel(logging.INFO)
    report = Report(options.json, torch.device(options.device))
    if options.programme:
        programme(report, options)
        return
    if options.random:
        found = parts(options)
    else:
        from _embedded_generation import embedded_parts

        found = embedded_parts(options.threads, options.rounds)
    for name, measure in found:
        report.take(name, measure)


if __name__ == "__main__":
    main()
