import pytest
from hypothesis import given
from hypothesis import strategies as st

from elysia_chat.chains.sentences import SentenceSplitter


def split(text: str, size: int = 1) -> list[str]:
    splitter = SentenceSplitter()
    sentences = [s for i in range(0, len(text), size) for s in splitter.feed(text[i : i + size])]
    return sentences + list(splitter.close())


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("你好。再见！", ["你好。", "再见！"]),
        ("她说：“走吧。”然后走了。", ["她说：“走吧。”", "然后走了。"]),
        ("樱是武士 [1]。妹妹是铃 [2]。", ["樱是武士 [1]。", "妹妹是铃 [2]。"]),
        ("她在这里。[1] 走吧。", ["她在这里。[1]", " 走吧。"]),
        ("真的吗？！好……", ["真的吗？！", "好……"]),
        ("Dr. Mei paid 3.5 coins. Then J. Smith left.", ["Dr. Mei paid 3.5 coins.", " Then J. Smith left."]),
        ("Visit a.example.org now! Yes.", ["Visit a.example.org now!", " Yes."]),
        ('He said "Go." Then left', ['He said "Go."', " Then left"]),
        ("one\ntwo", ["one\n", "two"]),
        ("", []),
        ("  ", []),
    ],
)
@pytest.mark.parametrize("size", [1, 3, 100])
def test_cuts(text: str, sentences: list[str], size: int):
    assert split(text, size) == sentences


def test_a_sentence_is_given_before_the_next_has_ended():
    splitter = SentenceSplitter()
    assert list(splitter.feed("你好，舰长。")) == []
    assert list(splitter.feed("今")) == ["你好，舰长。"]


@given(st.text(alphabet="ab好。.!？”[1] \n…", max_size=60), st.integers(1, 7))
def test_nothing_is_lost_and_token_borders_do_not_matter(text: str, size: int):
    assert "".join("".join(split(text, size)).split()) == "".join(text.split())
    assert split(text, size) == split(text, 1)
