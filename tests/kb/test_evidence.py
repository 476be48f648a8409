"""Which sentences of what was found reach the prompt."""

from collections.abc import Sequence

from langchain_core.documents import Document

from elysia_chat.kb.evidence import choose_evidence

TEXT = (
    "铃住在海边的一座石塔里。那座石塔一共有七层高。铃的生日是每年五月三日。铃平日最喜欢喝的是红茶。"
    "铃还养了一只小小的灰猫。"
)


class Words:
    """A reranker that counts the question's characters in the last line of a text."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def scores(self, query: str, passages: Sequence[str]) -> list[float]:
        self.seen += passages
        lines = [passage.splitlines()[-1] for passage in passages]
        return [sum(character in line for character in query) / (len(query) + 1) for line in lines]


def passage(text: str, score: float = 1.0, **metadata: str) -> Document:
    return Document(
        id="a", page_content=text, metadata={"title": "铃", "heading": "铃 > 资料", "score": score, **metadata}
    )


def evidence(question: str, text: str, most: int) -> str:
    (found,) = choose_evidence(question, [passage(text)], Words(), most)
    assert found.page_content == text
    return str(found.metadata["evidence"])


def test_the_best_sentences_stay_in_their_order():
    assert evidence("红茶 五月三日", TEXT, 2) == "…铃的生日是每年五月三日。铃平日最喜欢喝的是红茶。…"
    assert evidence("灰猫 海边", TEXT, 2) == "铃住在海边的一座石塔里。…铃还养了一只小小的灰猫。"


def test_few_sentences_are_left_whole_and_not_scored():
    reranker, short = Words(), passage("一句话在这里。\n\n两句话在这里。")
    assert choose_evidence("红茶", [short], reranker, 2) == [short]
    assert short.metadata["evidence"] == short.page_content
    assert reranker.seen == []


def test_nothing_found_needs_no_evidence():
    reranker = Words()
    assert choose_evidence("红茶", [], reranker, 1) == []
    assert reranker.seen == []


def test_sentences_are_scored_after_the_one_before_under_their_title_and_headings():
    reranker = Words()
    text = (
        "铃住在一座高高的石塔里。\n## 喜好\n她最喜欢喝红茶和牛奶。\n- 还喜欢那只灰色的猫\n## 生日\n她的生日是五月三日。"
    )
    (found,) = choose_evidence("红茶", [passage(text)], reranker, 1)
    assert reranker.seen == [
        "铃 > 资料\n铃住在一座高高的石塔里。",
        "铃 > 资料 > 喜好\n她最喜欢喝红茶和牛奶。",
        "铃 > 资料 > 喜好\n她最喜欢喝红茶和牛奶。\n- 还喜欢那只灰色的猫",
        "铃 > 资料 > 生日\n她的生日是五月三日。",
    ]
    assert found.metadata["evidence"] == "…## 喜好\n她最喜欢喝红茶和牛奶。…"


def test_heading_lines_do_not_count_as_sentences():
    text = "## 喜好\n她喜欢喝红茶和牛奶。\n## 生日\n她的生日是五月三日。"
    assert evidence("红茶", text, 2) == text


def test_the_best_of_all_passages_are_kept_and_a_passage_without_any_is_left_out():
    found = [passage(TEXT), passage("只有这样一句话，而且不短。"), passage(TEXT.replace("红茶", "绿茶"), lang="zh")]
    kept = choose_evidence("平日喜欢喝红绿茶", found, Words(), 2)
    assert kept == [found[0], found[2]]
    assert [item.metadata["evidence"] for item in kept] == ["…铃平日最喜欢喝的是红茶。…", "…铃平日最喜欢喝的是绿茶。…"]
    assert "evidence" not in found[1].metadata


def test_the_passage_with_the_best_sentence_comes_first():
    found = [passage(TEXT), passage("灰猫和红茶都在这里。可是五月三日不在。")]
    assert choose_evidence("红茶和灰猫", found, Words(), 2) == [found[1], found[0]]


def test_what_is_worth_too_little_is_no_evidence():
    found = [passage(TEXT, 0.9), passage("铃的红茶。", 0.1)]
    assert choose_evidence("红茶", found, Words(), 4, least=0.3) == found[:1]
    assert found[0].metadata["evidence"] == "…铃平日最喜欢喝的是红茶。…"
    assert choose_evidence("红茶", found, Words(), 4, least=0.7) == []


def test_a_sentence_counts_as_much_as_its_passage():
    found = [passage(TEXT, 0.9), passage(TEXT, 0.1)]
    assert choose_evidence("红茶", found, Words(), 1) == found[:1]


def test_a_very_short_sentence_comes_with_the_one_before_it():
    assert evidence("阿波", "她有过许多名字和称呼。那只猫的名字是什么？阿波。除此之外没有别的。", 1) == (
        "…那只猫的名字是什么？阿波。…"
    )


def test_equal_sentences_are_kept_from_the_beginning():
    assert evidence("xyz", TEXT, 2) == "铃住在海边的一座石塔里。那座石塔一共有七层高。…"
