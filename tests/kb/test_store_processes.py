"""Two processes and one index folder."""

import subprocess
import sys
import textwrap
import time

import pytest

from elysia_chat.configs.settings import StoreSettings
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexInUseError
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import KnowledgeBase, discard_index, open_knowledge_base

OTHER = """
import sys, time
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.settings import StoreSettings
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import open_knowledge_base
try:
    kb = open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())
except ElysiaChatError as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def start(script: str = "") -> subprocess.Popen[str]:
    code = OTHER + textwrap.dedent(script)
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def opened() -> KnowledgeBase:
    return open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())


def test_a_second_process_is_told_in_one_line_and_does_not_hang(chunks: list[Chunk]):
    kb = opened()
    kb.write(chunks)
    begun = time.monotonic()
    process = start()
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors.strip().splitlines()[-1].startswith("IndexInUseError: Another process has the index of 'eden' open")
    assert time.monotonic() - begun < 100
    assert kb.count() == len(chunks)
    kb.close()


def test_the_folder_is_free_once_the_first_has_closed_it(chunks: list[Chunk]):
    kb = opened()
    kb.write(chunks)
    kb.close()
    output, errors = start("print(kb.count()); kb.close()").communicate(timeout=120)
    assert output.strip() == str(len(chunks)), errors


@pytest.fixture
def holder():
    """Another process that writes without end."""
    process = start(
        """
        for n in range(10**9):
            kb.write([Chunk(id=f"{n}-{i}", text=f"记录 {n}-{i}", document="log.md", position=i) for i in range(20)])
            print(n, flush=True)
        """
    )
    for _ in range(3):
        assert process.stdout.readline(), process.stderr.read()
    yield process
    process.kill()
    process.communicate()


def test_another_process_that_holds_the_index_keeps_us_out(holder, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elysia_chat.kb.chroma_folder.LOCK_WAIT_S", 0.2)
    with pytest.raises(IndexInUseError, match="kind=chroma-server"):
        opened()
    with pytest.raises(IndexInUseError):
        discard_index("eden")


def test_a_writer_that_is_killed_leaves_an_index_that_opens_and_is_in_step(holder):
    holder.kill()
    holder.wait()
    kb = opened()
    assert kb.count() >= 40
    assert kb.lexical.ids() == kb.ids()
    found = kb.nearest("记录 0-7", 5)
    assert found[0][0].page_content == "记录 0-7"
    assert kb.matching("记录 1-3", 1)
    kb.close()
