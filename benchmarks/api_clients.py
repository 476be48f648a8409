"""Many clients of the HTTP API at once, for a while: are replies crossed or lost, and does memory stay flat?

    python benchmarks/api_clients.py --clients 100 --minutes 10 --json api_clients.json
    python benchmarks/api_clients.py --clients 100 --minutes 10 --settings my.yaml

Without `--settings` the model is a fake that answers each message by its own mark, so every reply can be told from
every other; half of the requests search the lore, half are streams. With settings the configured model answers a few
questions greedily, first alone and then under load; a reply that equals another question's is crossed. Latencies are
those of this load, with clients and server on one machine.
"""

import argparse
import asyncio
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
from langchain_core.messages import BaseMessage

from elysia_chat.configs.loader import load_settings
from elysia_chat.configs.paths import HOME_VARIABLE
from elysia_chat.llm.scripted import ScriptedChatModel
from elysia_chat.ui.api.launch import launch
from elysia_chat.ui.services import Services

# Single digits: the fake embeddings remember every word, and this is about the API's memory.
MARK = re.compile(r"visitor(?:-\d)+-times(?:-\d)+")
QUESTIONS = ("樱的妹妹是谁？", "罐头是谁养的猫？", "伊甸喜欢什么？", "Who is Elysia?", "Where does she live?")
MEGABYTE = 2**20
SAMPLE_S = 2.0
WORDS = "and so the evening went on among the flowers of the garden until the clock struck twelve"


class MarkedModel(ScriptedChatModel):
    """Answers with the mark of the message, and remembers nothing of it."""

    def _next_reply(self, messages: list[BaseMessage]) -> str:
        marks = MARK.findall(messages[-1].text)
        return f"{marks[-1] if marks else 'nobody'} {WORDS}"


class FakeServices(Services):
    """Services with that model."""

    @property
    def model(self) -> ScriptedChatModel:
        """The fake."""
        return MarkedModel(delay_s=0.01)


@dataclass
class Tally:
    """What the clients saw.

    Attributes:
        crossed: replies that belong to another question.
        lost: requests without a whole reply, by reason.
        changed: replies that are not what was expected, the crossed ones among them.
        seconds: of whole replies.
        rss: the server's memory every two seconds, in MiB.
    """

    answered: int = 0
    crossed: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    changed: int = 0
    seconds: list[float] = field(default_factory=list)
    first_token_s: list[float] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)


def serve(settings: list[str], overrides: list[str]) -> None:
    """Be the server; writes its address to stdout."""
    unlimited = ["api.requests_per_minute=0", "server.port=0", *overrides]
    services = (
        Services(load_settings(settings, unlimited)) if settings else FakeServices(load_settings(["fake"], unlimited))
    )
    services.prepare()
    services.ingest()
    _ = services.model
    launch(services, page=False, ready=lambda url: print(url, flush=True))


@contextmanager
def server(options: argparse.Namespace) -> Iterator[tuple[str, psutil.Process]]:
    """Run the server in a process of its own; gives its address and its process."""
    words = [sys.executable, __file__, "--serve"]
    words += [part for name in options.settings for part in ("--settings", name)]
    words += [part for name in options.set for part in ("--set", name)]
    with tempfile.TemporaryDirectory() as home:
        environment = dict(os.environ) if options.settings else {**os.environ, HOME_VARIABLE: home}
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            try:
                yield process.stdout.readline().strip(), psutil.Process(process.pid)
            finally:
                process.send_signal(signal.SIGINT)


async def ask(http: httpx.AsyncClient, model: str, text: str, *, stream: bool) -> tuple[str, float]:
    """Return a reply, and the seconds until its first token.

    Raises:
        RuntimeError: it did not come, or not to its end.
    """
    began = time.perf_counter()
    body = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream, "temperature": 0}
    if not stream:
        response = await http.post("v1/chat/completions", json=body)
        if response.status_code != 200:
            raise RuntimeError(response.text)
        return response.json()["choices"][0]["message"]["content"], time.perf_counter() - began
    reply, first, done = "", 0.0, False
    async with http.stream("POST", "v1/chat/completions", json=body) as response:
        async for line in response.aiter_lines():
            done = done or line == "data: [DONE]"
            if done or not line.startswith("data: "):
                continue
            choices = json.loads(line.removeprefix("data: ")).get("choices") or [{}]
            if piece := choices[0].get("delta", {}).get("content"):
                first = first or time.perf_counter() - began
                reply += piece
    if response.status_code != 200 or not done:
        msg = f"a stream ended early ({response.status_code})"
        raise RuntimeError(msg)
    return reply, first


@dataclass
class Crowd:
    """All clients.

    Attributes:
        http: what they ask through.
        options: of the command line.
        until: when they stop, by `time.perf_counter`.
        references: what the questions are answered when each is asked alone; empty for the fake.
    """

    http: httpx.AsyncClient
    options: argparse.Namespace
    until: float
    references: dict[str, str]
    tally: Tally = field(default_factory=Tally)

    async def visit(self, number: int) -> None:
        """Be one client until the time is over."""
        chance, said = random.Random(number), 0
        while time.perf_counter() < self.until:
            said += 1
            mark = f"visitor-{'-'.join(str(number))}-times-{'-'.join(str(said))}"
            text = QUESTIONS[(number + said) % len(QUESTIONS)] if self.references else f"Tell me something, {mark}."
            lore = bool(self.references) or said % 2 == 0
            model = self.options.persona if lore else f"{self.options.persona}@norag"
            began = time.perf_counter()
            try:
                reply, first = await ask(self.http, model, text, stream=(number + said // 2) % 2 == 0)
            except (httpx.HTTPError, RuntimeError) as error:
                self.tally.lost[str(error)[:200] or type(error).__name__] += 1
            else:
                self.tally.first_token_s.append(first)
                self.tally.seconds.append(time.perf_counter() - began)
                self._compare(reply, text, mark)
            await asyncio.sleep(chance.uniform(0, 2 * self.options.pause))

    async def watch(self, process: psutil.Process) -> None:
        """Look at the server's memory."""
        while time.perf_counter() < self.until:
            self.tally.rss.append(process.memory_info().rss / MEGABYTE)
            await asyncio.sleep(SAMPLE_S)

    def _compare(self, reply: str, text: str, mark: str) -> None:
        if self.references:
            others = {answer for question, answer in self.references.items() if question != text}
            right, crossed = reply == self.references[text], reply in others
        else:
            right, crossed = reply == f"{mark} {WORDS}", MARK.findall(reply) != [mark]
        self.tally.answered += 1
        self.tally.changed += not right
        self.tally.crossed += crossed and not right


async def load(url: str, process: psutil.Process, options: argparse.Namespace) -> Tally:
    """Return what the clients saw."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=options.clients)
    async with httpx.AsyncClient(base_url=url, timeout=600, limits=limits, verify=False) as http:
        while (await http.get("ready")).status_code != 200:
            await asyncio.sleep(0.2)
        references: dict[str, str] = {}
        if options.settings:
            references = {text: (await ask(http, options.persona, text, stream=False))[0] for text in QUESTIONS}
        crowd = Crowd(http, options, time.perf_counter() + 60 * options.minutes, references)
        await asyncio.gather(crowd.watch(process), *map(crowd.visit, range(options.clients)))
    return crowd.tally


def result(options: argparse.Namespace, tally: Tally) -> dict[str, Any]:
    """Return the figures; memory in MiB, begin and end as medians of a tenth of the time each."""
    tenth = max(1, len(tally.rss) // 10)
    middle = len(tally.rss) // 2
    parts = {"begin": tally.rss[:tenth], "middle": tally.rss[middle : middle + tenth], "end": tally.rss[-tenth:]}
    # From a fifth of the time on: until then caches and thread stacks still fill.
    steady = list(enumerate(tally.rss))[len(tally.rss) // 5 :]
    slope = statistics.linear_regression(*zip(*steady, strict=True)).slope if len(steady) > 2 else 0.0
    return {
        "clients": options.clients,
        "minutes": options.minutes,
        "model": options.settings or "fake",
        "answered": tally.answered,
        "crossed": tally.crossed,
        "lost": sum(tally.lost.values()),
        "lost_why": dict(tally.lost.most_common(5)),
        "changed": tally.changed,
        "requests_per_s": round(tally.answered / (60 * options.minutes), 1),
        "seconds": quantiles(tally.seconds),
        "first_token_s": quantiles(tally.first_token_s),
        "rss_mib": {name: round(statistics.median(values), 1) for name, values in parts.items()},
        "rss_mib_per_minute": round(slope * 60 / SAMPLE_S, 2),
    }


def quantiles(values: list[float]) -> dict[str, float]:
    if len(values) < 2:
        return {}
    cuts = statistics.quantiles(values, n=100)
    return {"median": round(cuts[49], 3), "p95": round(cuts[94], 3), "max": round(max(values), 3)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--pause", type=float, default=0.5, help="seconds between two requests of a client, on average")
    parser.add_argument("--settings", action="append", default=[], help="a preset or file instead of the fake")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--persona", default="elysia")
    parser.add_argument("--json", type=Path, help="write the figures to this file too")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.settings, options.set)
        return
    with server(options) as (url, process):
        tally = asyncio.run(load(url, process, options))
    figures = json.dumps(result(options, tally), indent=2)
    print(figures)
    if options.json:
        options.json.write_text(f"{figures}\n", encoding="utf-8")
    if tally.crossed or tally.lost:
        sys.exit(1)


if __name__ == "__main__":
    main()
