"""The contract of the knowledge base, which every kind of store keeps."""

import threading
from dataclasses import replace

import pytest

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.paths import index_dir
from elysia_chat.configs.settings import StoreSettings
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexInUseError, IndexMismatchError, StoreServerError
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.index_names import collection_name
from elysia_chat.kb.store import KnowledgeBase, discard_index, open_knowledge_base

from .conftest import Open


class Counting(HashEmbeddings):
    """Counts the texts that are embedded."""

    def __init__(self) -> None:
        super().__init__()
        self.embedded: list[str] = []

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        self.embedded += texts
        return super().embed_documents(texts)


def texts(found: list) -> list[str]:
    return [document.page_content for document, _ in found]


def test_what_is_written_is_found_both_ways_and_as_it_was(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    assert (kb.count(), kb.ids(), kb.nearest("生日", 3), kb.matching("生日", 3)) == (0, set(), [], [])
    kb.write(chunks)
    assert kb.count() == len(chunks)
    assert kb.ids() == {chunk.id for chunk in chunks}
    assert "生日" in texts(kb.nearest("爱莉希雅的生日是哪一天", 1))[0]
    assert "生日" in texts(kb.matching("爱莉希雅的生日是哪一天", 1))[0]
    wanted = [chunks[3].id, "unknown", chunks[0].id]
    got = kb.get(wanted)
    assert [Chunk.from_stored(str(d.id), d.page_content, d.metadata) for d in got] == [chunks[3], chunks[0]]


def test_similarities_are_cosines_and_fall(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write(chunks)
    found = kb.nearest(chunks[0].indexed_text, len(chunks))
    scores = [score for _, score in found]
    assert scores[0] == pytest.approx(1.0, abs=1e-5)
    assert scores == sorted(scores, reverse=True)
    assert len(found) == len(chunks)
    assert min(scores) >= -1.0


def test_writing_again_replaces(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write(chunks)
    kb.write([replace(chunks[0], text="爱莉希雅有一头银色的短发。")])
    assert kb.count() == len(chunks)
    assert texts(kb.matching("银色", 1)) == ["爱莉希雅有一头银色的短发。"]
    assert "银色" in texts(kb.nearest("爱莉希雅有一头银色的短发", 1))[0]
    assert not any("粉色" in text for text in texts(kb.nearest("粉色的长发", 20)))


def test_a_chunk_that_only_moved_is_not_embedded_again(open_kb: Open, chunks: list[Chunk]):
    embeddings = Counting()
    kb = open_kb(embeddings=embeddings)
    kb.write(chunks)
    embeddings.embedded.clear()
    kb.write([replace(chunks[0], position=50, start=999), replace(chunks[1], title="新标题"), chunks[2]])
    assert len(embeddings.embedded) == 1
    moved = kb.get([chunks[0].id])[0].metadata
    assert (moved["position"], moved["start"]) == (50, 999)
    assert kb.matching("粉色", 1)[0][0].metadata["position"] == 50


def test_the_same_id_twice_in_one_write_counts_once(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write([chunks[0], replace(chunks[0], start=5)])
    assert kb.count() == 1
    assert kb.get([chunks[0].id])[0].metadata["start"] == 5


def test_deleting(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write(chunks)
    kb.delete([chunks[0].id, "unknown"])
    kb.delete([])
    assert chunks[0].id not in kb.ids()
    assert not any("粉色" in text for text in texts(kb.nearest("粉色的长发", 20)) + texts(kb.matching("粉色", 20)))
    kb.clear()
    assert (kb.count(), kb.ids(), kb.nearest("花", 3), kb.matching("花", 3)) == (0, set(), [], [])


def test_neighbours(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write(chunks)
    assert [d.metadata["position"] for d in kb.neighbours("elysia.md", 1)] == [0, 2]
    assert [d.metadata["position"] for d in kb.neighbours("elysia.md", 0)] == [1]
    assert kb.neighbours("none.md", 0) == []


def test_more_chunks_than_one_batch(open_kb: Open):
    kb = open_kb()
    many = [Chunk(id=f"n{n}", text=f"记录{n}", document="many.md", position=n) for n in range(1200)]
    kb.write(many)
    assert kb.count() == 1200
    assert len(kb.ids()) == 1200
    assert len(kb.nearest("记录7", 100)) == 100
    kb.delete([chunk.id for chunk in many[:1100]])
    assert kb.count() == 100


def test_searching_while_writing(open_kb: Open, chunks: list[Chunk]):
    kb = open_kb()
    kb.write(chunks)
    stop, failures, reads = threading.Event(), [], []

    def read() -> None:
        try:
            while not stop.is_set():
                assert "生日" in texts(kb.nearest("她的生日是十一月十一日", 1))[0]
                assert "生日" in texts(kb.matching("生日", 1))[0]
                reads.append(1)
        except (AssertionError, ElysiaChatError, RuntimeError) as error:
            failures.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for n in range(15):
        kb.write([Chunk(id=f"n{n}-{i}", text=f"记录{n}-{i}", document=f"{n}.md", position=i) for i in range(20)])
        kb.delete([f"n{n}-{i}" for i in range(0, 20, 2)])
    stop.set()
    for reader in readers:
        reader.join(60)
    assert failures == []
    assert reads
    assert kb.count() == len(chunks) + 150


def test_an_index_of_another_embedder_is_told_and_left_alone(open_kb: Open, chunks: list[Chunk], store_settings):
    first = open_kb("e5-one")
    first.write(chunks)
    second = open_kb("e5-two")
    assert second.count() == 0
    if store_settings.kind == "memory":
        second.check_embedder()
        return
    with pytest.raises(IndexMismatchError, match=f"elysia-chat ingest --persona {second.persona}"):
        second.check_embedder()
    second.write(chunks[:2])
    second.check_embedder()
    assert (first.count(), second.count()) == (len(chunks), 2)


def test_two_openings_in_one_process_see_each_others_writes(open_kb: Open, chunks: list[Chunk], store_settings):
    if store_settings.kind == "memory":
        pytest.skip("each opening in memory is its own")
    first, second = open_kb(), open_kb()
    first.write(chunks)
    assert second.ids() == first.ids()
    assert "生日" in texts(second.nearest("她的生日是十一月十一日", 1))[0]
    first.close()
    assert second.count() == len(chunks)


@pytest.fixture
def folder_kb(chunks: list[Chunk]):
    kb = open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())
    kb.write(chunks)
    yield kb
    kb.close()


def reopened(kb: KnowledgeBase) -> KnowledgeBase:
    kb.close()
    return open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())


def test_a_folder_keeps_everything_over_closing(folder_kb: KnowledgeBase, chunks: list[Chunk]):
    again = reopened(folder_kb)
    assert again.ids() == {chunk.id for chunk in chunks}
    assert "生日" in texts(again.nearest("她的生日是十一月十一日", 1))[0]
    again.close()


def test_closing_twice_is_closing_once(folder_kb: KnowledgeBase, chunks: list[Chunk]):
    other = open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())
    folder_kb.close()
    folder_kb.close()
    assert other.count() == len(chunks)
    other.close()


def test_a_word_index_that_fell_behind_is_brought_back_into_step(folder_kb: KnowledgeBase, chunks: list[Chunk]):
    """A process that dies between the two writes leaves them apart."""
    folder_kb.lexical.delete([chunks[1].id])
    folder_kb.lexical.upsert([Chunk(id="stray", text="走失", document="x.md")])
    again = reopened(folder_kb)
    assert again.lexical.get([chunks[1].id]) == {chunks[1].id: chunks[1]}
    assert again.matching("走失", 3) == []
    again.close()


def test_an_index_that_is_open_is_not_discarded(folder_kb: KnowledgeBase):
    with pytest.raises(IndexInUseError, match="open"):
        discard_index("eden")
    folder_kb.close()
    (index_dir("eden") / "manifest.sqlite3").write_bytes(b"x")
    discard_index("eden")
    assert [path.name for path in index_dir("eden").iterdir()] == ["owner.lock"]
    discard_index("nobody")


def test_a_foreign_env_file_and_environment_change_nothing(chunks: list[Chunk], tmp_path, monkeypatch):
    """Chroma reads `.env` from the current folder: another project's could make a server's client of it."""
    (tmp_path / ".env").write_text("CHROMA_API_IMPL=chromadb.api.fastapi.FastAPI\nALLOW_RESET=true\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHROMA_API_IMPL", "chromadb.api.fastapi.FastAPI")
    kb = open_knowledge_base("eden", HashEmbeddings(), "hash", StoreSettings())
    kb.write(chunks)
    assert kb.count() == len(chunks)
    kb.close()


def test_personas_do_not_share_collections():
    names = {collection_name(name, "e5") for name in ("爱莉希雅", "伊甸", "a-b", "a_b", "A b", "a" * 90, "a" * 91)}
    assert len(names) == 7
    for name in names:
        assert 3 <= len(name) <= 63
        assert name.isascii()


def test_what_another_machine_deleted_from_the_server_is_not_found_by_its_words(
    chroma_server, chunks, tmp_path, monkeypatch
):
    host, port = chroma_server
    settings = StoreSettings(kind="chroma-server", host=host, port=port)
    here = open_knowledge_base("two-machines", HashEmbeddings(), "hash", settings)
    here.write(chunks)
    monkeypatch.setenv("ELYSIA_CHAT_HOME", str(tmp_path / "another machine"))
    there = open_knowledge_base("two-machines", HashEmbeddings(), "hash", settings)
    assert texts(there.matching("生日", 1)) == [chunks[1].text]
    there.delete([chunks[1].id])
    there.write([Chunk(id="new", text="新的一条", document="new.md")])
    assert here.matching("生日", 1) == []
    assert here.synchronise() == 2
    assert texts(here.matching("新的", 1)) == ["新的一条"]
    here.close()
    there.close()


def test_a_server_that_is_not_there_is_told(unused_port: int):
    settings = StoreSettings(kind="chroma-server", port=unused_port)
    with pytest.raises(StoreServerError, match=f"127.0.0.1:{unused_port}.*chroma run"):
        open_knowledge_base("eden", HashEmbeddings(), "hash", settings)


def test_a_server_that_is_none_of_chroma_is_told(other_server: int):
    settings = StoreSettings(kind="chroma-server", port=other_server)
    with pytest.raises(StoreServerError, match="another kind of server"):
        open_knowledge_base("eden", HashEmbeddings(), "hash", settings)


def test_a_server_that_never_answers_does_not_hang(silent_server: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elysia_chat.kb.chroma.CONNECT_S", 0.3)
    settings = StoreSettings(kind="chroma-server", port=silent_server)
    with pytest.raises(StoreServerError, match="timed out"):
        open_knowledge_base("eden", HashEmbeddings(), "hash", settings)
