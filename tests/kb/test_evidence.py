"""Which sentences of a passage are kept for the prompt."""

from collections.abc import Sequence

from langchain_core.documents import Document

from elysia_chat.kb.evidence import add_evidence

TEXT = "她住在海边的塔里。塔有七层高。她的生日是五月三日。她喜欢喝红茶。她有一只灰猫。"


class Words:
    """A reranker that counts the question's characters in a text."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        self.seen += passages
        return [sum(character in passage for character in query) / (len(query) + 1) for passage in passages]


def passage(text: str, **metadata: str) -> Document:
    return Document(id="a", page_content=text, metadata={"title": "铃", "heading": "铃 > 资料", **metadata})


def evidence(question: str, text: str, most: int, **metadata: str) -> str:
    found = passage(text, **metadata)
    add_evidence(question, [found], Words(), most)
    assert found.page_content == text
    return found.metadata["evidence"]


def test_the_best_sentences_stay_in_their_order():
    assert evidence("红茶 五月三日", TEXT, 2) == "…她的生日是五月三日。她喜欢喝红茶。…"
    assert evidence("灰猫 海边", TEXT, 2) == "她住在海边的塔里。…她有一只灰猫。"


def test_a_short_passage_is_left_whole_and_not_scored():
    reranker, short = Words(), passage("一句话在这里。\n\n两句话在这里。")
    add_evidence("红茶", [short], reranker, 2)
    assert short.metadata["evidence"] == short.page_content
    assert reranker.seen == []


def test_nothing_found_needs_no_evidence():
    reranker = Words()
    add_evidence("红茶", [], reranker, 1)
    assert reranker.seen == []


def test_sentences_are_scored_under_their_title_and_headings():
    reranker = Words()
    text = "铃住在一座高塔里。\n## 喜好\n她喜欢喝红茶和牛奶。\n- 还喜欢灰色的猫\n## 生日\n她的生日是五月三日。"
    found = passage(text)
    add_evidence("红茶", [found], reranker, 1)
    assert reranker.seen == [
        "铃 > 资料\n铃住在一座高塔里。",
        "铃 > 资料 > 喜好\n她喜欢喝红茶和牛奶。",
        "铃 > 资料 > 喜好\n- 还喜欢灰色的猫",
        "铃 > 资料 > 生日\n她的生日是五月三日。",
    ]
    assert found.metadata["evidence"] == "…## 喜好\n她喜欢喝红茶和牛奶。…"


def test_heading_lines_do_not_count_as_sentences():
    text = "## 喜好\n她喜欢喝红茶和牛奶。\n## 生日\n她的生日是五月三日。"
    assert evidence("红茶", text, 2) == text


def test_each_passage_keeps_its_own():
    found = [passage(TEXT), passage("短的一句话。"), passage(TEXT.replace("红茶", "绿茶"))]
    add_evidence("绿茶红", found, Words(), 1)
    assert [item.metadata["evidence"] for item in found] == ["…她喜欢喝红茶。…", "短的一句话。", "…她喜欢喝绿茶。…"]


def test_equal_sentences_are_kept_from_the_beginning():
    assert evidence("xyz", TEXT, 2) == "她住在海边的塔里。塔有七层高。…"
