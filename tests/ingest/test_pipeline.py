import os
import threading
import time

import pytest

from elysia_chat.configs.settings import IngestSettings
from elysia_chat.ingest import pipeline
from elysia_chat.ingest.errors import IngestBusyError, IngestCancelledError
from elysia_chat.ingest.loaders import discover
from elysia_chat.ingest.lock import single_writer
from elysia_chat.ingest.pipeline import IngestOptions, build_options, document_states, ingest

ZH = "爱莉希雅是往世乐土的主人。她喜欢花，也喜欢茶！你知道她的生日吗？那是十一月十一日。"


@pytest.fixture
def lore(tmp_path):
    folder = tmp_path / "lore"
    folder.mkdir()
    (folder / "elysia.md").write_text(f"# 爱莉希雅\n\n{ZH}\n\n## 武器\n\n{ZH * 4}\n", encoding="utf-8")
    (folder / "kevin.md").write_text(f"# 凯文\n\n凯文用刀。{ZH * 5}\n", encoding="utf-8")
    (folder / "sub").mkdir()
    (folder / "sub" / "tea.txt").write_text("红茶配点心。" * 30, encoding="utf-8")
    return folder


class Counting:
    """Counts what reaches the embedding model."""

    def __init__(self, index):
        self.texts = []
        inner = index.embeddings.embed_documents

        def embed(texts):
            self.texts += texts
            return inner(texts)

        index.embeddings.embed_documents = embed

    def taken(self):
        texts, self.texts = self.texts, []
        return texts


def contents(index):
    return {str(d.id): (d.page_content, d.metadata) for d in index.get(sorted(index.ids()))}


def expected(lore, manifest_path, options):
    """What a clean run over the folder gives."""
    from elysia_chat.configs.settings import StoreSettings
    from elysia_chat.kb.fakes import HashEmbeddings
    from elysia_chat.kb.store import open_knowledge_base

    fresh = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))
    ingest(discover(lore), fresh, manifest_path.with_name("fresh.sqlite3"), options)
    found = contents(fresh)
    manifest_path.with_name("fresh.sqlite3").unlink()
    return found


def run(lore, index, manifest_path, options, **more):
    return ingest(discover(lore), index, manifest_path, options, **more)


def test_a_first_run_indexes_everything(lore, index, manifest_path, options):
    report = run(lore, index, manifest_path, options)
    assert report.added == ["elysia.md", "kevin.md", "sub/tea.txt"]
    assert (report.updated, report.deleted, report.unchanged, report.failed) == ([], [], [], [])
    assert report.chunks == report.written == index.count() > 3
    assert report.seconds > 0
    states = document_states(manifest_path)
    assert [(s.path, s.title, s.state) for s in states] == [
        ("elysia.md", "爱莉希雅", "indexed"),
        ("kevin.md", "凯文", "indexed"),
        ("sub/tea.txt", "tea", "indexed"),
    ]
    assert sum(s.chunks for s in states) == report.chunks
    assert states[0].bytes == (lore / "elysia.md").stat().st_size


def test_a_second_run_does_nothing(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    before = contents(index)
    counting = Counting(index)
    report = run(lore, index, manifest_path, options)
    assert report.unchanged == ["elysia.md", "kevin.md", "sub/tea.txt"]
    assert (report.added, report.updated, report.deleted, report.written) == ([], [], [], 0)
    assert counting.taken() == []
    assert contents(index) == before


def test_only_changed_chunks_are_embedded(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    counting = Counting(index)
    with (lore / "elysia.md").open("a", encoding="utf-8") as file:
        file.write(f"\n## 新的一节\n\n{ZH}\n")
    report = run(lore, index, manifest_path, options)
    assert report.updated == ["elysia.md"]
    assert [text for text in counting.taken() if "新的一节" not in text] == []
    assert contents(index) == expected(lore, manifest_path, options)


def test_a_passage_that_only_moved_is_not_embedded_again_but_knows_its_place(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    counting = Counting(index)
    old = (lore / "elysia.md").read_text(encoding="utf-8")
    (lore / "elysia.md").write_text(old.replace("## 武器", f"## 前面\n\n{ZH}\n\n## 武器"), encoding="utf-8")
    run(lore, index, manifest_path, options)
    assert len(counting.taken()) == 1
    assert contents(index) == expected(lore, manifest_path, options)


def test_a_new_title_reaches_every_chunk(lore, index, manifest_path, options):
    """The ids tell document, heading and text; the title is embedded too, and changes without them."""
    run(lore, index, manifest_path, options)
    old = (lore / "elysia.md").read_text(encoding="utf-8")
    (lore / "elysia.md").write_text(old.replace("# 爱莉希雅", "# 真我", 1), encoding="utf-8")
    assert run(lore, index, manifest_path, options).updated == ["elysia.md"]
    assert contents(index) == expected(lore, manifest_path, options)
    assert {m["title"] for _, m in contents(index).values() if m["document"] == "elysia.md"} == {"真我"}


def test_documents_come_and_go(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    (lore / "kevin.md").unlink()
    (lore / "sub" / "tea.txt").rename(lore / "coffee.txt")
    report = run(lore, index, manifest_path, options)
    assert (report.added, report.deleted) == (["coffee.txt"], ["kevin.md", "sub/tea.txt"])
    assert contents(index) == expected(lore, manifest_path, options)
    assert [s.path for s in document_states(manifest_path)] == ["coffee.txt", "elysia.md"]


def test_touching_a_file_changes_nothing(lore, memory_index, manifest_path, options):
    run(lore, memory_index, manifest_path, options)
    os.utime(lore / "kevin.md", (1, 1))
    assert run(lore, memory_index, manifest_path, options).unchanged == ["elysia.md", "kevin.md", "sub/tea.txt"]


def test_an_edit_of_the_same_size_and_time_is_noticed(lore, memory_index, manifest_path, options):
    """Size and modification time alone would miss it."""
    run(lore, memory_index, manifest_path, options)
    path = lore / "kevin.md"
    stat = path.stat()
    path.write_text(path.read_text(encoding="utf-8").replace("刀", "剑", 1), encoding="utf-8")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert run(lore, memory_index, manifest_path, options).updated == ["kevin.md"]


def test_an_old_unchanged_file_is_not_read(lore, memory_index, manifest_path, options, monkeypatch):
    run(lore, memory_index, manifest_path, options)
    now = time.time()
    monkeypatch.setattr(pipeline.time, "time", lambda: now + 60)
    read = []
    monkeypatch.setattr(pipeline, "read_file", lambda path, *rest: read.append(path.name) or path.read_bytes())
    run(lore, memory_index, manifest_path, options)
    assert sorted(read) == ["elysia.md", "kevin.md", "tea.txt"], "written within the clock's grain: hashed again"
    read.clear()
    assert len(run(lore, memory_index, manifest_path, options).unchanged) == 3
    assert read == []


def test_new_splitter_settings_cut_everything_anew(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    finer = IngestOptions(chunk_size=80, chunk_overlap=10)
    report = run(lore, index, manifest_path, finer)
    assert report.updated == ["elysia.md", "kevin.md", "sub/tea.txt"]
    assert contents(index) == expected(lore, manifest_path, finer)
    assert run(lore, index, manifest_path, finer).written == 0


def test_failures_are_reported_and_the_others_go_on(lore, memory_index, manifest_path, options):
    (lore / "empty.md").write_bytes(b" \n")
    (lore / "broken.pdf").write_bytes(b"%PDF-1.4 nothing")
    (lore / "picture.png").write_bytes(b"\x89PNG")
    report = run(lore, memory_index, manifest_path, options)
    assert [path for path, _ in report.failed] == ["broken.pdf", "empty.md", "picture.png"]
    assert dict(report.failed)["empty.md"] == "holds nothing but white space"
    assert report.added == ["elysia.md", "kevin.md", "sub/tea.txt"]
    failed = {s.path: s.reason for s in document_states(manifest_path) if s.state == "failed"}
    assert failed == dict(report.failed)


def test_a_document_that_became_unreadable_keeps_its_chunks(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    before = contents(index)
    good = (lore / "kevin.md").read_bytes()
    (lore / "kevin.md").write_bytes(b"")
    report = run(lore, index, manifest_path, options)
    assert report.failed == [("kevin.md", "is empty")]
    assert contents(index) == before
    state = next(s for s in document_states(manifest_path) if s.path == "kevin.md")
    assert (state.state, state.title, state.chunks > 0) == ("failed", "凯文", True)
    (lore / "kevin.md").write_bytes(good)
    assert run(lore, index, manifest_path, options).failed == []
    assert contents(index) == before
    assert {s.state for s in document_states(manifest_path)} == {"indexed"}


def test_a_failed_document_that_is_gone_is_deleted(lore, memory_index, manifest_path, options):
    run(lore, memory_index, manifest_path, options)
    (lore / "kevin.md").write_bytes(b"")
    run(lore, memory_index, manifest_path, options)
    (lore / "kevin.md").unlink()
    assert run(lore, memory_index, manifest_path, options).deleted == ["kevin.md"]
    assert contents(memory_index) == expected(lore, manifest_path, options)


def test_a_file_that_vanishes_after_it_was_listed_is_deleted(lore, memory_index, manifest_path, options):
    run(lore, memory_index, manifest_path, options)
    listed = discover(lore)
    (lore / "kevin.md").unlink()
    report = ingest(listed, memory_index, manifest_path, options)
    assert (report.deleted, report.failed) == (["kevin.md"], [])
    assert contents(memory_index) == expected(lore, manifest_path, options)


def test_a_link_out_of_the_lore_is_refused(lore, memory_index, manifest_path, options, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    (lore / "sub" / "link.txt").symlink_to(tmp_path / "secret.txt")
    report = run(lore, memory_index, manifest_path, options)
    assert [path for path, _ in report.failed] == ["sub/link.txt"]
    (lore / "sub" / "link.txt").unlink()
    (lore / "sub" / "link.txt").symlink_to(lore / "kevin.md")
    assert run(lore, memory_index, manifest_path, options).failed == []


@pytest.mark.parametrize("loss", ["all", "some"])
def test_chunks_that_went_missing_are_written_again(lore, index, manifest_path, options, loss):
    run(lore, index, manifest_path, options)
    whole = contents(index)
    index.clear() if loss == "all" else index.delete(sorted(whole)[:2])
    report = run(lore, index, manifest_path, options)
    assert report.repaired
    assert sorted(report.repaired + report.unchanged) == ["elysia.md", "kevin.md", "sub/tea.txt"]
    assert report.written == (len(whole) if loss == "all" else 2)
    assert contents(index) == whole


def test_chunks_nobody_knows_are_deleted(lore, index, manifest_path, options):
    from elysia_chat.kb.chunk import Chunk

    run(lore, index, manifest_path, options)
    whole = contents(index)
    index.write([Chunk("0" * 32, "stray", "gone.md")])
    run(lore, index, manifest_path, options)
    assert contents(index) == whole


def test_a_lost_or_damaged_manifest_is_made_again(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    whole = contents(index)
    for suffix in ("-wal", "-shm"):
        manifest_path.with_name(manifest_path.name + suffix).unlink(missing_ok=True)
    manifest_path.write_bytes(b"nonsense" * 500)
    assert len(run(lore, index, manifest_path, options).added) == 3
    assert contents(index) == whole
    manifest_path.unlink()
    run(lore, index, manifest_path, options)
    assert contents(index) == whole


def test_another_embedding_model_gets_everything_and_so_does_the_first_when_it_is_back(
    lore, manifest_path, options, memory_index
):
    """The first index still has its ids when its turn comes again, but they may be out of date."""
    run(lore, memory_index, manifest_path, options)
    (lore / "elysia.md").write_text(f"# 真我\n\n{ZH}\n\n## 武器\n\n{ZH * 4}\n", encoding="utf-8")
    from elysia_chat.configs.settings import StoreSettings
    from elysia_chat.kb.fakes import HashEmbeddings
    from elysia_chat.kb.store import open_knowledge_base

    other = open_knowledge_base("elysia", HashEmbeddings(128), "hash-128", StoreSettings(kind="memory"))
    run(lore, other, manifest_path, options)
    assert contents(other) == expected(lore, manifest_path, options)
    run(lore, memory_index, manifest_path, options)
    assert contents(memory_index) == expected(lore, manifest_path, options)


def test_progress_is_told_and_adds_up(lore, memory_index, manifest_path, options):
    told = []
    report = run(lore, memory_index, manifest_path, options, progress=told.append)
    reads = [p for p in told if p.stage == "read"]
    assert [(p.done, p.total, p.document) for p in reads] == [
        (1, 3, "elysia.md"), (2, 3, "kevin.md"), (3, 3, "sub/tea.txt"),
    ]  # fmt: skip
    writes = [p for p in told if p.stage == "write"]
    assert (writes[-1].done, writes[-1].total) == (report.written, report.written)


def test_batches_reach_across_documents(lore, memory_index, manifest_path, options, monkeypatch):
    sizes = []
    write = memory_index.write
    monkeypatch.setattr(memory_index, "write", lambda chunks: sizes.append(len(chunks)) or write(chunks))
    monkeypatch.setattr(pipeline, "_BATCH", 4)
    report = run(lore, memory_index, manifest_path, options)
    assert sum(sizes) == report.written
    assert set(sizes[:-1]) == {4}


def test_it_stops_when_it_is_asked_to_and_goes_on_later(lore, index, manifest_path, options, monkeypatch):
    monkeypatch.setattr(pipeline, "_BATCH", 2)
    cancel = threading.Event()

    def after_the_first_write(progress):
        if progress.stage == "write":
            cancel.set()

    with pytest.raises(IngestCancelledError, match="goes on"):
        run(lore, index, manifest_path, options, progress=after_the_first_write, cancel=cancel)
    assert 0 < index.count() < len(expected(lore, manifest_path, options))
    run(lore, index, manifest_path, options)
    assert contents(index) == expected(lore, manifest_path, options)


def test_what_the_callback_raises_ends_the_run(lore, memory_index, manifest_path, options):
    class Stop(Exception):
        pass

    def stop(_):
        raise Stop

    with pytest.raises(Stop):
        run(lore, memory_index, manifest_path, options, progress=stop)
    assert len(run(lore, memory_index, manifest_path, options).added) == 3


def test_a_second_run_at_the_same_time_is_refused(lore, memory_index, manifest_path, options):
    with single_writer(manifest_path), pytest.raises(IngestBusyError, match=str(os.getpid())):
        run(lore, memory_index, manifest_path, options)


def test_no_documents_at_all_empties_the_index(lore, index, manifest_path, options):
    run(lore, index, manifest_path, options)
    report = ingest({}, index, manifest_path, options)
    assert len(report.deleted) == 3
    assert (report.chunks, index.count(), document_states(manifest_path)) == (0, 0, [])


def test_the_report_is_plain_data(lore, memory_index, manifest_path, options):
    import json

    (lore / "empty.md").write_bytes(b"")
    data = json.loads(json.dumps(run(lore, memory_index, manifest_path, options).to_dict()))
    assert data["added"] == ["elysia.md", "kevin.md", "sub/tea.txt"]
    assert data["failed"] == [{"path": "empty.md", "reason": "is empty"}]


def test_settings_become_options():
    options = build_options(IngestSettings(chunk_size=300, chunk_overlap=30, max_file_mb=1.5, max_unpacked_mb=2))
    assert (options.chunk_size, options.chunk_overlap) == (300, 30)
    assert (options.limits.file_bytes, options.limits.unpacked_bytes) == (1_500_000, 2_000_000)
