"""Questions are answered while documents are ingested again."""

import threading
from contextlib import closing

from elysia_chat.configs.settings import RetrievalSettings
from elysia_chat.ingest import pipeline
from elysia_chat.ingest.loaders import discover
from elysia_chat.ingest.pipeline import IngestOptions, ingest
from elysia_chat.kb.retriever import build_retriever

TOPICS = ["紫藤花开在春天的院子里", "铁匠在炉火旁打造长剑", "海上的灯塔整夜亮着", "雪山脚下有一座茶馆"]


def write_lore(folder, version):
    folder.mkdir(exist_ok=True)
    for number, topic in enumerate(TOPICS):
        lines = [f"{topic}，这是第{line}句话，说的还是{topic}。" for line in range(12)]
        lines.insert(version % 12, f"第{version}版的补充。")
        (folder / f"{number}.md").write_text(f"# 文{number}\n\n" + "".join(lines), encoding="utf-8")


class Reader(threading.Thread):
    """Asks for each document in turn and notes every question that its document did not answer."""

    def __init__(self, index):
        super().__init__()
        self._retriever = build_retriever(RetrievalSettings(reranker=None), index)
        self.stop = threading.Event()
        self.asked = 0
        self.unanswered = []
        self.error = None

    def run(self):
        try:
            while not self.stop.is_set():
                number = self.asked % len(TOPICS)
                found = self._retriever.invoke(TOPICS[number])
                if f"{number}.md" not in {document.metadata["document"] for document in found}:
                    self.unanswered.append(self.asked)
                self.asked += 1
        except Exception as error:  # noqa: BLE001 - whatever it is, the test has to see it
            self.error = error


def test_a_reader_always_gets_an_answer(tmp_path, index, manifest_path, monkeypatch):
    monkeypatch.setattr(pipeline, "_BATCH", 4)
    lore = tmp_path / "lore"
    write_lore(lore, 0)
    ingest(discover(lore), index, manifest_path, IngestOptions(120, 0))
    reader = Reader(index)
    reader.start()
    try:
        for version in range(1, 8):
            write_lore(lore, version)
            size = 120 if version % 2 else 90  # everything is cut anew, so every chunk is replaced
            ingest(discover(lore), index, manifest_path, IngestOptions(size, 0))
        while reader.asked < 20 and reader.is_alive():
            reader.stop.wait(0.05)
    finally:
        reader.stop.set()
        reader.join()
    assert reader.error is None
    assert reader.asked >= 20
    assert reader.unanswered == []


def test_a_write_that_fails_midway_leaves_the_former_answers(tmp_path, memory_index, manifest_path, monkeypatch):
    lore = tmp_path / "lore"
    write_lore(lore, 0)
    ingest(discover(lore), memory_index, manifest_path, IngestOptions(120, 0))
    before = memory_index.ids()
    write_lore(lore, 1)

    class DiskFullError(Exception):
        pass

    def fail(_):
        raise DiskFullError

    with monkeypatch.context() as patched, closing(memory_index):
        patched.setattr(memory_index, "write", fail)
        try:
            ingest(discover(lore), memory_index, manifest_path, IngestOptions(120, 0))
        except DiskFullError:
            pass
        else:
            raise AssertionError
        assert memory_index.ids() >= before
