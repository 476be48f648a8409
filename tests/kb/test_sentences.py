"""Cutting passages into sentences, and putting some of them back together."""

import pytest

from elysia_chat.kb.sentences import keep_sentences, sentences


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("她在城里。她说：“走吧！”然后走了。", ["她在城里。", "她说：“走吧！”", "然后走了。"]),
        ("Dr. Hale wrote 3.5 pages. Nobody read them!", ["Dr. Hale wrote 3.5 pages.", "Nobody read them!"]),
        ("J. R. Vane left.\n\n- tea\n- bread and butter", ["J. R. Vane left.", "- tea", "- bread and butter"]),
        ("他点头。嗯。好的，我们明天再来吧。", ["他点头。嗯。", "好的，我们明天再来吧。"]),
        ("没有句号的一行", ["没有句号的一行"]),
        ("  \n", []),
    ],
)
def test_a_text_is_cut_at_lines_and_sentences(text: str, parts: list[str]):
    assert sentences(text) == parts


def test_what_is_left_out_is_marked():
    text = "第一句话在此。第二句话在此。\nThird is here. Fourth is here."
    assert keep_sentences(text, {0, 1, 2, 3}) == text
    assert keep_sentences(text, {1}) == "…第二句话在此。…"
    assert keep_sentences(text, {0, 3}) == "第一句话在此。\n…Fourth is here."
    assert keep_sentences(text, {0, 2}) == "第一句话在此。\n…Third is here.…"
    assert keep_sentences("One is here. Two is here. Three is here.", {0, 1}) == "One is here. Two is here.…"
    assert keep_sentences(text, ()) == ""


@pytest.mark.parametrize("text", ["(a) 甲。\n\n乙丙丁戊己。?!", "…", "A.B.C", "“”。。。", "x" * 10_000, "。" * 3_000])
def test_all_kept_loses_nothing(text: str):
    whole = keep_sentences(text, range(len(sentences(text))))
    assert "".join(whole.split()) == "".join(text.split())
