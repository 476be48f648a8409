"""The command as a process of its own: what only a real process can show."""

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "elysia_chat.ui.cli", "--settings", "fake", "--set", "persona=mini")
SLOW = ("--set", "model.replies=['one two three four five six seven eight nine ten']", "--set", "model.delay_s=0.3")
WITHIN_S = 120


@pytest.fixture(autouse=True)
def _mini(lore: Path) -> None:
    """Every test here talks with 'mini'."""


@contextmanager
def started(*words: str, **pipes: int) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [*COMMAND, *words], text=True, **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **pipes}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None and not pipe.closed:
                pipe.close()


def test_stdout_is_one_json_object_and_nothing_else():
    done = subprocess.run([*COMMAND, "ask", "Where?", "--json"], capture_output=True, text=True, timeout=WITHIN_S)
    assert done.returncode == 0
    assert json.loads(done.stdout)["sources"]
    assert done.stdout.count("\n") == 1
    assert "Warning" not in done.stderr


def test_text_is_utf8_whatever_the_locale():
    question = "她是谁？".encode()
    env = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    words = [*COMMAND, "chat", "--no-rag", "--json", "--set", "model.replies=[]"]
    done = subprocess.run(words, input=question, capture_output=True, env=env, timeout=WITHIN_S)
    turn = json.loads(done.stdout.decode())["turns"][0]
    assert turn["answer"].strip().endswith("她是谁？")


def test_bytes_that_are_no_text_are_survived():
    words = [*(part.encode() for part in COMMAND), b"ask", b"caf\xe9?", b"--json"]
    done = subprocess.run(words, capture_output=True, timeout=WITHIN_S)
    assert "Traceback" not in done.stderr.decode()
    assert json.loads(done.stdout)


def test_a_reader_that_goes_away_is_no_traceback():
    with started("chat", "--no-rag", *SLOW, stdin=subprocess.PIPE) as process:
        process.stdin.write("hi\n" * 3)
        process.stdin.close()
        process.stdout.read(3)
        process.stdout.close()
        assert process.wait(WITHIN_S) != 0
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_ends_a_command_cleanly():
    with started("ask", "hi", "--no-rag", *SLOW) as process:
        assert process.stdout.read(3) == "one"
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 130
        assert "Traceback" not in process.stderr.read()


def test_ctrl_c_stops_a_reply_and_not_the_chat():
    typed, terminal = pty.openpty()
    with started("chat", "--no-rag", *SLOW, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        read_until(typed, "> ")
        os.write(typed, b"hi\n")
        read_until(typed, "two")
        process.send_signal(signal.SIGINT)
        stopped = read_until(typed, "> ")
        assert "nine" not in stopped
        assert "…" in stopped
        os.write(typed, b"/history\n")
        read_until(typed, "> ", after="one two")
        # readline shows the prompt first and only then waits in a way that a signal can interrupt.
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        read_until(typed, "> ", after="Ctrl-C once more")
        os.write(typed, b"\x04")
        read_until(typed, "\n")
        assert process.wait(WITHIN_S) == 0
    os.close(typed)


def test_chinese_is_edited_by_whole_characters():
    typed, terminal = pty.openpty()
    words = ("chat", "--no-rag", "--set", "model.replies=[]")
    with started(*words, stdin=terminal, stdout=terminal, stderr=terminal) as process:
        os.close(terminal)
        read_until(typed, "> ")
        os.write(typed, "樱的妺".encode() + b"\x7f" + "妹妹\n".encode())
        read_until(typed, "> ")
        os.write(typed, b"/history\n")
        history = read_until(typed, "> ", after="/history")
        assert "> 樱的妹妹" in history
        os.write(typed, b"/exit\n")
        assert process.wait(WITHIN_S) == 0
    os.close(typed)


@pytest.mark.slow
def test_the_page_is_served_until_ctrl_c():
    with started("web", "--port", "0", "--no-open", "--json") as process:
        told = json.loads(process.stdout.readline())
        with urllib.request.urlopen(told["url"], timeout=WITHIN_S) as page:
            assert page.status == 200
        taken = told["url"].rstrip("/").rpartition(":")[2]
        second = subprocess.run(
            [*COMMAND, "web", "--port", taken, "--json"], capture_output=True, text=True, timeout=WITHIN_S
        )
        assert second.returncode == 1
        assert taken in json.loads(second.stdout)["error"]["message"]
        process.send_signal(signal.SIGINT)
        assert process.wait(WITHIN_S) == 0
        assert process.stdout.read() == ""
        assert "Traceback" not in process.stderr.read()


def read_until(terminal: int, mark: str, after: str = "") -> str:
    """Read a pseudo-terminal until the mark has come (after another one, if given), and return everything read."""
    seen, deadline = b"", time.monotonic() + WITHIN_S
    while time.monotonic() < deadline:
        text = seen.decode(errors="ignore")
        if mark in text[text.find(after) + len(after) :] and after in text:
            return text
        if not select.select([terminal], [], [], 1.0)[0]:
            continue
        try:
            seen += os.read(terminal, 4096)
        except OSError:  # the other side is closed
            break
    msg = f"{mark!r} did not come: {seen.decode(errors='replace')!r}"
    raise AssertionError(msg)
