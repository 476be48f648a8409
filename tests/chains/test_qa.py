import asyncio
import warnings

from langchain_core.documents import Document
from langchain_core.messages import SystemMessage

from elysia_chat.chains.followup import rewrite_by_rules
from elysia_chat.chains.prompt import Turn
from elysia_chat.chains.qa import PromptBudget, RetrievalQAChain

from .parts import VOICES, Parrot, Shelf, passage, words

PASSAGES = [passage("樱的妹妹是铃。", "sakura.md"), passage("伊甸是歌者。", "eden.md"), passage("苏爱喝茶。", "su.md")]


def chain(reply: str = "是铃哦 [1]。", **changes: object) -> RetrievalQAChain:
    parts = {"voices": VOICES, "model": Parrot(replies=[reply]), "retriever": Shelf(passages=PASSAGES), **changes}
    return RetrievalQAChain(**parts)  # type: ignore[arg-type]


def test_answer_comes_with_its_source_documents():
    output = chain().invoke({"question": "樱的妹妹是谁？"})
    assert output["answer"] == "是铃哦 [1]。"
    assert output["source_documents"][0].metadata["document"] == "sakura.md"
    assert output["usage"] == {"input_tokens": 7, "output_tokens": 8}


def test_every_source_is_in_the_prompt():
    tight = PromptBudget(prompt_tokens=230, count_tokens=words)
    one = chain(budget=tight, retriever=Shelf(passages=[passage("樱" * 40), passage("樱" * 40)]))
    output = one.invoke({"question": "樱？"})
    prompt = str(one.model.prompts[0][-1].content)  # type: ignore[attr-defined]
    assert len(output["source_documents"]) < 2
    assert all(document.page_content in prompt for document in output["source_documents"])


def test_pieces_come_in_order_and_closing_stops_the_model():
    one = chain("很长的回答。")
    pieces = one.stream({"question": "樱？"})
    keys = [next(iter(next(pieces))) for _ in range(5)]
    pieces.close()
    assert keys == ["question", "search_question", "source_documents", "answer", "answer"]
    assert one.model.said == ["很长"]  # type: ignore[attr-defined]


def test_async_stream_gives_the_same():
    async def collect() -> str:
        return "".join([piece.get("answer", "") async for piece in chain().astream({"question": "樱？"})])

    assert asyncio.run(collect()) == "是铃哦 [1]。"


def test_a_follow_up_is_searched_with_its_name():
    one = chain(rewrite=rewrite_by_rules(["樱"]))
    output = one.invoke({"question": "她的妹妹呢？", "history": [Turn("樱是谁？", "一位武士。")]})
    assert output["search_question"] == "樱的妹妹呢？"
    assert one.retriever.asked == ["樱的妹妹呢？"]  # type: ignore[union-attr]
    assert "问题：她的妹妹呢？" in str(one.model.prompts[0][-1].content)  # type: ignore[attr-defined]


def test_without_retriever_nothing_is_searched():
    output = chain(retriever=None).invoke({"question": "你好"})
    assert output["source_documents"] == []
    assert "search_question" not in output


def test_language_decides_the_persona_text_and_sampling_reaches_the_model():
    one = chain(sampling={"temperature": 0.3})
    one.invoke({"question": "Who is she?"}, seed=5)
    model = one.model
    assert isinstance(model, Parrot)
    assert str(model.prompts[0][0].content).startswith("You are Elysia.")
    assert isinstance(model.prompts[0][0], SystemMessage)
    assert model.sampling == [{"temperature": 0.3, "seed": 5}]


def test_langchain_classics_retrieval_qa_works_with_our_parts():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the class is deprecated where it lives
        from langchain_classic.chains import RetrievalQA

        qa = RetrievalQA.from_chain_type(
            llm=Parrot(replies=["铃"]), retriever=Shelf(passages=PASSAGES), return_source_documents=True
        )
        output = qa.invoke({"query": "樱的妹妹是谁？"})
    assert output["result"] == "铃"
    assert output["source_documents"][0] == Document(page_content="樱的妹妹是铃。", metadata=PASSAGES[0].metadata)
