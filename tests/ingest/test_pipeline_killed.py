"""A run that is killed anywhere leaves an index that the next run brings to the state of a clean one."""

import importlib.util
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from elysia_chat.configs.paths import HOME_VARIABLE, index_dir
from elysia_chat.configs.settings import StoreSettings
from elysia_chat.ingest import pipeline
from elysia_chat.ingest.loaders import discover
from elysia_chat.ingest.pipeline import IngestOptions, ingest
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base

SCRIPT = Path(__file__).with_name("killed_run.py")
OPTIONS = IngestOptions(120, 0)
ZH = "爱莉希雅是往世乐土的主人。她喜欢花，也喜欢茶！你知道她的生日吗？那是十一月十一日。"


def write_lore(folder: Path, version: int) -> None:
    """Version 2 changes, moves, retitles, adds and removes."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    texts = {
        "same.md": f"# 不变\n\n{ZH * 6}",
        "changed.md": f"# 变\n\n{ZH * 3}第{version}版。{ZH * 3}",
        "moved.md": "# 移\n\n" + (f"## 新\n\n{ZH * 2}\n\n" if version == 2 else "") + f"## 旧\n\n{ZH * 5}",
        "title.md": f"# 题{version}\n\n{ZH * 3}",
        f"only{version}.md": f"# 独\n\n{ZH * 5}",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")


def open_index(kind="chroma"):
    return open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind=kind))


def state(index, manifest_path):
    """Everything that two equal indexes share; times are not."""
    stored = {str(d.id): (d.page_content, d.metadata) for d in index.get(sorted(index.ids()))}
    words = {chunk.id: chunk for chunk in index.lexical.get(sorted(index.lexical.ids())).values()}
    with closing(sqlite3.connect(manifest_path)) as connection:
        rows = {
            table: sorted(connection.execute(f"SELECT {columns} FROM {table}"))
            for table, columns in (
                ("documents", "path, title, digest, bytes, reason"),
                ("chunks", "id, path, state"),
                ("touched", "id, path"),
                ("settings", "name, value"),
            )
        }
    return stored, words, rows


@pytest.fixture
def clean(tmp_path):
    """The state of a clean run over version 2."""
    write_lore(tmp_path / "v2", 2)
    with closing(open_index("memory")) as index:
        ingest(discover(tmp_path / "v2"), index, tmp_path / "clean.sqlite3", OPTIONS)
        return state(index, tmp_path / "clean.sqlite3")


class Killed(BaseException):
    pass


def killed_in(owner, step, monkeypatch, folder, index, manifest_path):
    """Ingest a folder and be stopped where the first such step begins."""

    def stop(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, stop)
        with pytest.raises(Killed):
            ingest(discover(folder), index, manifest_path, OPTIONS)


def test_in_memory_at_every_single_event(tmp_path, clean, monkeypatch):
    spec = importlib.util.spec_from_file_location("killed_run", SCRIPT)
    killed_run = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(killed_run)

    def run(folder, index, manifest_path, at):
        def stop():
            raise Killed

        events = killed_run.Events(at, stop)
        with monkeypatch.context() as patched:
            patched.setattr(pipeline, "_BATCH", 3)
            for owner, names in killed_run.STEPS:
                for name in names:
                    patched.setattr(owner, name, events.around(getattr(owner, name)))
            ingest(discover(folder), index, manifest_path, OPTIONS)
        return events.count

    write_lore(tmp_path / "v1", 1)
    at, finished = 0, False
    while not finished:
        at += 1
        manifest_path = tmp_path / f"{at}.sqlite3"
        with closing(open_index("memory")) as index:
            ingest(discover(tmp_path / "v1"), index, manifest_path, OPTIONS)
            try:
                run(tmp_path / "v2", index, manifest_path, at)
                finished = True
            except Killed:
                ingest(discover(tmp_path / "v2"), index, manifest_path, OPTIONS)
            assert state(index, manifest_path) == clean, f"event {at}"
    assert at > 40


def test_in_memory_and_then_a_third_version(tmp_path, clean, monkeypatch):
    """What the killed run wrote is in no record when the document changes again before the next run."""
    write_lore(tmp_path / "v1", 1)
    write_lore(tmp_path / "v3", 2)
    (tmp_path / "v3" / "changed.md").write_text("# 又变\n\n全新的内容。", encoding="utf-8")
    manifest_path = tmp_path / "m.sqlite3"
    with closing(open_index("memory")) as index:
        ingest(discover(tmp_path / "v1"), index, manifest_path, OPTIONS)
        killed_in(pipeline.Manifest, "save", monkeypatch, tmp_path / "v2", index, manifest_path)
        ingest(discover(tmp_path / "v3"), index, manifest_path, OPTIONS)
        with closing(open_index("memory")) as fresh:
            ingest(discover(tmp_path / "v3"), fresh, tmp_path / "f.sqlite3", OPTIONS)
            assert state(index, manifest_path) == state(fresh, tmp_path / "f.sqlite3")


def test_a_document_that_breaks_after_a_kill_still_has_its_chunks(tmp_path, monkeypatch):
    """Its record is saved before its former chunks are deleted, so one complete version is always on record."""
    write_lore(tmp_path / "v1", 1)
    write_lore(tmp_path / "v2", 2)
    broken = tmp_path / "v3"
    write_lore(broken, 2)
    (broken / "changed.md").write_bytes(b"")
    steps = [(pipeline.Manifest, "save"), (KnowledgeBase, "delete")]
    for owner, name in steps:
        manifest_path = tmp_path / f"{name}.sqlite3"
        with closing(open_index("memory")) as index:
            ingest(discover(tmp_path / "v1"), index, manifest_path, OPTIONS)
            killed_in(owner, name, monkeypatch, tmp_path / "v2", index, manifest_path)
            report = ingest(discover(broken), index, manifest_path, OPTIONS)
            assert [path for path, _ in report.failed] == ["changed.md"]
            text = "".join(
                d.page_content for d in index.get(sorted(index.ids())) if d.metadata["document"] == "changed.md"
            )
            version = 1 if name == "save" else 2
            assert f"第{version}版" in text
            assert len(text) > len(ZH) * 5


@pytest.fixture
def indexed_v1(tmp_path, data_folder):
    """A Chroma index of version 1, to be copied for each kill."""
    lore = tmp_path / "lore"
    write_lore(lore, 1)
    manifest_path = index_dir("elysia") / "manifest.sqlite3"
    with closing(open_index()) as index:
        ingest(discover(lore), index, manifest_path, OPTIONS)
    shutil.copytree(data_folder, tmp_path / "v1-home")
    write_lore(lore, 2)
    return lore


def killed_process(home, lore, at):
    manifest_path = home / "index" / "elysia" / "manifest.sqlite3"
    return subprocess.Popen(
        [sys.executable, SCRIPT, lore, manifest_path, str(at)],
        env={HOME_VARIABLE: str(home), "PATH": "", "ANONYMIZED_TELEMETRY": "False"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_real_processes_killed_at_events_and_at_random_moments(tmp_path, indexed_v1, clean, monkeypatch):
    lore = indexed_v1
    count_home = tmp_path / "count"
    shutil.copytree(tmp_path / "v1-home", count_home)
    began = time.monotonic()
    with killed_process(count_home, lore, 0) as process:
        count = int(process.stdout.read())
    whole = time.monotonic() - began
    assert count > 40
    chance = random.Random(11)
    kills = [("event", at) for at in sorted(chance.sample(range(1, count), 4))]
    kills += [("moment", chance.uniform(0.6, 1.0) * whole) for _ in range(2)]
    for number, (kind, value) in enumerate(kills):
        home = tmp_path / f"home-{number}"
        shutil.copytree(tmp_path / "v1-home", home)
        with killed_process(home, lore, value if kind == "event" else 0) as process:
            if kind == "moment":
                try:
                    process.wait(value)
                except subprocess.TimeoutExpired:
                    process.kill()
        assert process.returncode == -signal.SIGKILL or kind == "moment"
        monkeypatch.setenv(HOME_VARIABLE, str(home))
        manifest_path = index_dir("elysia") / "manifest.sqlite3"
        with closing(open_index()) as index:
            ingest(discover(lore), index, manifest_path, OPTIONS)
            assert state(index, manifest_path) == clean, f"{kind} {value}"
