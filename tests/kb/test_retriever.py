import threading
from dataclasses import replace

import pytest
from langchain_core.documents import Document
from langchain_tests.integration_tests import RetrieversIntegrationTests

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.configs.settings import RetrievalSettings, StoreSettings
from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.errors import IndexMismatchError
from elysia_chat.kb.fakes import HashEmbeddings
from elysia_chat.kb.retriever import HybridRetriever, build_retriever
from elysia_chat.kb.store import KnowledgeBase, open_knowledge_base

from .conftest import Open, make_chunks

pytestmark = pytest.mark.filterwarnings("ignore:The test .* is marked with '@pytest.mark.asyncio':pytest.PytestWarning")


def retriever(kb: KnowledgeBase, **settings: object) -> HybridRetriever:
    return build_retriever(RetrievalSettings(reranker=None, **settings), kb)


def texts(found: list[Document]) -> list[str]:
    return [document.page_content for document in found]


@pytest.mark.asyncio
class TestHybridRetriever(RetrieversIntegrationTests):
    """LangChain's own tests of retrievers."""

    @property
    def retriever_constructor(self) -> type[HybridRetriever]:
        return HybridRetriever

    @property
    def retriever_constructor_params(self) -> dict:
        kb = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))
        kb.write(make_chunks())
        return {"knowledge_base": kb}

    @property
    def retriever_query_example(self) -> str:
        return "爱莉希雅的生日是哪一天？"


@pytest.mark.parametrize("mode", ["hybrid", "dense", "lexical"])
@pytest.mark.parametrize("fusion", ["convex", "rrf"])
def test_the_right_passage_comes_first(memory_kb: KnowledgeBase, mode: str, fusion: str):
    found = retriever(memory_kb, mode=mode, fusion=fusion).invoke("爱莉希雅的生日是哪一天？")
    assert texts(found)[0] == "她的生日是十一月十一日。"


def test_results_are_stored_passages_with_their_ranks(memory_kb: KnowledgeBase, chunks: list[Chunk]):
    by_id = {chunk.id: chunk for chunk in chunks}
    found = retriever(memory_kb, k=8).invoke("爱莉希雅喜欢的花")
    assert found
    for document in found:
        meta = document.metadata
        assert document.page_content == by_id[meta["id"]].text
        assert {key: meta[key] for key in by_id[meta["id"]].metadata} == by_id[meta["id"]].metadata
        assert meta["id"] == document.id
        assert 0.0 <= meta["score"] <= 1.0
        assert meta["dense_rank"] or meta["lexical_rank"]
    scores = [document.metadata["score"] for document in found]
    assert scores == sorted(scores, reverse=True)
    assert found[0].metadata["dense_rank"] == 1


def test_modes_leave_the_other_search_out(memory_kb: KnowledgeBase):
    dense = retriever(memory_kb, mode="dense").invoke("她的生日")
    lexical = retriever(memory_kb, mode="lexical").invoke("她的生日")
    assert {document.metadata["lexical_rank"] for document in dense} == {None}
    assert {document.metadata["dense_rank"] for document in lexical} == {None}


def test_a_passage_that_only_one_search_offers_is_found(memory_kb: KnowledgeBase):
    found = retriever(memory_kb, candidates=4, k=4).invoke("颜料")
    assert "格蕾修喜欢画画，总是带着颜料。" in texts(found)


@pytest.mark.parametrize("query", ["", "   \n"])
def test_an_empty_question_finds_nothing(memory_kb: KnowledgeBase, query: str):
    assert retriever(memory_kb).invoke(query) == []


@pytest.mark.parametrize("query", ['"', "(", "NEAR(", "♪♪", "生" * 100_000, "\x00"])
def test_any_question_is_answered(memory_kb: KnowledgeBase, query: str):
    assert isinstance(retriever(memory_kb).invoke(query), list)


def test_an_empty_index_finds_nothing():
    kb = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))
    assert retriever(kb).invoke("生日") == []
    kb.close()


def test_k_may_be_more_than_the_candidates_or_the_passages(memory_kb: KnowledgeBase, chunks: list[Chunk]):
    made = HybridRetriever(knowledge_base=memory_kb, k=2, candidates=2)
    assert len(made.invoke("生日", k=50)) == len(chunks)
    assert len(made.invoke("生日")) == 2


def test_an_index_of_another_embedder_is_told(chunks: list[Chunk]):
    first = open_knowledge_base("eden", HashEmbeddings(), "one", StoreSettings())
    first.write(chunks)
    second = open_knowledge_base("eden", HashEmbeddings(), "two", StoreSettings())
    with pytest.raises(IndexMismatchError, match="elysia-chat ingest --persona eden"):
        retriever(second).invoke("生日")
    first.close()
    second.close()


def test_mmr_prefers_what_is_different(memory_kb: KnowledgeBase, chunks: list[Chunk]):
    twin = replace(chunks[1], id="twin", document="copy.md")
    memory_kb.write([twin])
    question = "爱莉希雅的生日是哪一天？"
    plain = texts(retriever(memory_kb, k=2).invoke(question))
    varied = texts(retriever(memory_kb, k=2, mmr=0.5).invoke(question))
    assert plain == [twin.text, twin.text]
    assert varied[0] == twin.text
    assert varied[1] != twin.text
    assert texts(retriever(memory_kb, k=2, mmr=1.0).invoke(question)) == plain


def test_neighbours_are_joined_in_reading_order_and_used_once(memory_kb: KnowledgeBase):
    found = retriever(memory_kb, k=4, neighbours=True).invoke("爱莉希雅的生日是哪一天？")
    assert found[0].page_content == "爱莉希雅有一头粉色的长发。\n她的生日是十一月十一日。\n她最喜欢的花是水晶花。"
    assert found[0].metadata["position"] == 0
    joined = [identifier for document in found for identifier in document.metadata["joined"]]
    assert len(joined) == len(set(joined))
    assert set(joined) <= memory_kb.ids()


def test_joined_chunks_that_overlap_do_not_repeat_themselves():
    kb = open_knowledge_base("elysia", HashEmbeddings(), "hash", StoreSettings(kind="memory"))
    text = "一二三四五六七八九十甲乙丙丁"
    kb.write(
        [Chunk(id=f"{n}", text=text[n * 4 : n * 4 + 6], document="a.md", position=n, start=n * 4) for n in range(3)]
    )
    found = retriever(kb, neighbours=True, k=1).invoke("五六七八九十")
    assert texts(found) == [text]
    kb.close()


class Backwards:
    """A reranker that likes short passages."""

    seen: list[str]

    def scores(self, query: str, passages: list[str]) -> list[float]:
        self.seen = passages
        return [1.0 / len(passage) for passage in passages]


def test_a_reranker_reads_titles_too_and_decides_the_order(memory_kb: KnowledgeBase):
    made = HybridRetriever(knowledge_base=memory_kb, k=3, candidates=20, reranker=Backwards())
    found = made.invoke("生日")
    shortest = sorted(made.reranker.seen, key=len)[:3]
    assert [len(text) for text in shortest] == [round(1 / d.metadata["score"]) for d in found]
    assert all(text.endswith(d.page_content) for text, d in zip(shortest, found, strict=True))
    assert all(text.startswith(d.metadata["title"]) for text, d in zip(shortest, found, strict=True))


def test_the_reranker_reads_no_more_than_it_is_given(memory_kb: KnowledgeBase):
    best, rest = (fused := HybridRetriever(knowledge_base=memory_kb, k=8).invoke("生日"))[:3], fused[3:]
    nearest = min(rest, key=lambda document: document.metadata["dense_rank"] or 99)
    made = HybridRetriever(knowledge_base=memory_kb, k=2, rerank=4, reranker=Backwards())
    assert texts(made.invoke("生日")) == sorted(texts([*best, nearest]), key=len)[:2]
    assert len(made.reranker.seen) == 4
    assert len(made.invoke("生日", k=6)) == 6
    assert len(made.reranker.seen) == 6


def test_passages_under_the_lowest_score_are_left_out(memory_kb: KnowledgeBase):
    every = HybridRetriever(knowledge_base=memory_kb, k=8, reranker=Backwards()).invoke("生日")
    lowest = every[2].metadata["score"]
    made = HybridRetriever(knowledge_base=memory_kb, k=8, reranker=Backwards(), min_score=lowest)
    assert texts(made.invoke("生日")) == texts([d for d in every if d.metadata["score"] >= lowest])
    none = HybridRetriever(knowledge_base=memory_kb, k=8, reranker=Backwards(), min_score=1.0, mmr=0.5, sentences=1)
    assert none.invoke("生日") == []


class Overlap:
    """A reranker that counts the question's characters in a text."""

    def scores(self, query: str, passages: list[str]) -> list[float]:
        return [sum(character in passage for character in query) / len(query) for passage in passages]


def test_evidence_is_chosen_from_what_is_returned(memory_kb: KnowledgeBase):
    options = {"knowledge_base": memory_kb, "k": 3, "neighbours": True, "reranker": Overlap()}
    first, *_ = HybridRetriever(**options, sentences=1).invoke("她的生日是哪一天？")
    assert first.page_content == "爱莉希雅有一头粉色的长发。\n她的生日是十一月十一日。\n她最喜欢的花是水晶花。"
    assert first.metadata["evidence"] == "…她的生日是十一月十一日。…"
    assert HybridRetriever(**options, sentences=1, min_score=0.9).invoke("她的生日是哪一天？") == []
    assert all("evidence" not in d.metadata for d in HybridRetriever(**options).invoke("水晶花"))
    assert "evidence" not in retriever(memory_kb, sentences=1).invoke("水晶花")[0].metadata


def test_searching_while_documents_are_replaced(open_kb: Open, chunks: list[Chunk]):
    """A re-ingest writes first and deletes after, so there is an answer at every moment."""
    kb = open_kb()
    kb.write(chunks)
    made = retriever(kb, k=3)
    stop, failures, answers = threading.Event(), [], []

    def ask() -> None:
        try:
            while not stop.is_set():
                answers.append(made.invoke("生日是哪一天"))
        except (ElysiaChatError, KeyError, RuntimeError, ValueError) as error:
            failures.append(error)

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for asker in askers:
        asker.start()
    old = chunks[1].id
    for n in range(12):
        new = replace(chunks[1], id=f"v{n}", text=f"她的生日是十一月十一日（第{n}版）。")
        kb.write([new])
        kb.delete([old])
        old = new.id
    stop.set()
    for asker in askers:
        asker.join(60)
    assert failures == []
    assert answers
    assert all(any("生日" in document.page_content for document in found) for found in answers)
