"""Warm start of the page: seconds until it is served, and the memory of the process once everything is loaded.

python benchmarks/startup.py [--runs N] [--json FILE]

Needs a data folder that is ready (`elysia-chat ingest` once).
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the result here as well")
    parser.add_argument("--runs", type=int, default=3)
    arguments = parser.parse_args()
    runs = [measure() for _ in range(arguments.runs)]
    result = {
        "runs": runs,
        "median_usable_s": sorted(run["usable_s"] for run in runs)[len(runs) // 2],
        "peak_memory_gib": max(run["peak_memory_gib"] for run in runs),
        "cores": os.cpu_count(),
    }
    print(json.dumps(result, indent=2))
    if arguments.json:
        arguments.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure() -> dict[str, Any]:
    """Start the page once, wait until it is served and everything behind it is loaded, and stop it."""
    port = free_port()
    command = [sys.executable, "-m", "elysia_chat.ui.cli", "web", "--no-open", "--port", str(port)]
    started = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            usable = wait_for(f"http://127.0.0.1:{port}/", process, started)
            wait_until_idle(process.pid)
            return {"usable_s": round(usable, 2), "peak_memory_gib": round(peak_memory_gib(process.pid), 2)}
        finally:
            process.terminate()


def wait_for(url: str, process: subprocess.Popen[bytes], started: float, limit_s: float = 120.0) -> float:
    """Return the seconds from `started` until the page answers."""
    while time.perf_counter() - started < limit_s:
        if process.poll() is not None:
            sys.exit("The page did not start; run `elysia-chat web` to see why.")
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return time.perf_counter() - started
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    sys.exit(f"No page within {limit_s:.0f} s.")


def wait_until_idle(pid: int, quiet_s: float = 3.0, limit_s: float = 120.0) -> None:
    """Wait until the process has used almost no CPU for a while: the weights are loaded."""
    quiet_since, before = time.perf_counter(), cpu_seconds(pid)
    end = quiet_since + limit_s
    while time.perf_counter() < end and time.perf_counter() - quiet_since < quiet_s:
        time.sleep(0.5)
        now = cpu_seconds(pid)
        if now - before > 0.1:
            quiet_since = time.perf_counter()
        before = now


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds that a process has used, from Linux's process table."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_gib(pid: int) -> float:
    """Return the largest resident memory of a process so far, from Linux's process table."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 2**20
    return 0.0


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


if __name__ == "__main__":
    main()
