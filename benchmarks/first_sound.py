"""From question to first sound: spoken while it is written, against the whole reply first and then a new process.

    python benchmarks/first_sound.py [--runs N] [--json FILE]

Both ways ask the same questions of the same services, model and voices loaded. The other way waits for the last word
and then starts a process that loads the voice and writes one file (`elysia-chat say`). Needs a data folder that is
ready (`elysia-chat ingest` once).
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from elysia_chat.chains.events import Finished, Sentence
from elysia_chat.configs.loader import load_settings
from elysia_chat.ui.services import Services

QUESTIONS = (
    "你好，能介绍一下你自己吗？",
    "樱的妹妹是谁？",
    "黄金庭院里都有些什么？",
    "今天有点难过，想和你说说话。",
    "Could you tell me who you are?",
    "Who is Eden, and what does she like?",
)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the result here as well")
    arguments = parser.parse_args()
    # What has been said once would be heard at once.
    services = Services(load_settings(overrides=["voice.cache_mb=0"]))
    services.ingest()
    services.speech.load()
    spoken_while_written(services, QUESTIONS[0])
    rows = [measure(services, question) for _ in range(arguments.runs) for question in QUESTIONS]
    services.close()
    result = {
        "rows": rows,
        "median_first_sound_s": round(statistics.median(row["first_sound_s"] for row in rows), 2),
        "median_other_way_s": round(statistics.median(row["other_way_s"] for row in rows), 2),
        "median_ratio": round(statistics.median(row["ratio"] for row in rows), 1),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2, ensure_ascii=False))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def measure(services: Services, question: str) -> dict[str, Any]:
    """Return the seconds until the first sound of both ways."""
    first, silent = spoken_while_written(services, question)
    other, length = spoken_afterwards(services, question)
    return {
        "question": question, "first_sound_s": round(first, 2), "longest_silence_s": round(silent, 2),
        "other_way_s": round(other, 2), "reply_characters": length, "ratio": round(other / first, 1),
    }  # fmt: skip


def spoken_while_written(services: Services, question: str) -> tuple[float, float]:
    """Return the seconds until the first sentence's sound, and the longest wait for the next after one has ended."""
    conversation = services.conversation()
    stream = services.speech.stream(services.speaker(speed=1.0))
    began = time.perf_counter()
    arrivals: list[tuple[float, float]] = []

    def collect(spoken: Any) -> None:
        arrivals.extend((time.perf_counter() - began, item.audio.seconds) for item in spoken if item.audio is not None)

    for event in conversation.stream(question):
        if isinstance(event, Sentence):
            stream.feed(event.text)
        collect(stream.ready())
    stream.finish()
    for spoken in stream:
        collect([spoken])
    if not arrivals:
        sys.exit(f"Nothing was said to: {question}")
    ends, silent = arrivals[0][0], 0.0
    for arrived, seconds in arrivals:
        silent = max(silent, arrived - ends)
        ends = max(ends, arrived) + seconds
    return arrivals[0][0], silent


def spoken_afterwards(services: Services, question: str) -> tuple[float, int]:
    """Return the seconds until a new process has written the whole reply into one file, and the reply's length."""
    conversation = services.conversation()
    began = time.perf_counter()
    reply = next(event.answer for event in conversation.stream(question) if isinstance(event, Finished))
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "elysia_chat.ui.cli", "say", reply, "-o", str(Path(folder) / "reply.wav")]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began, len(reply)


if __name__ == "__main__":
    main()
