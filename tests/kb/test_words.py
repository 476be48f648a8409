from itertools import pairwise

from elysia_chat.kb.highlight import matching_spans
from elysia_chat.kb.words import fold, spans, terms, words


def test_chinese_english_and_both_together():
    assert {"粉色", "长发"} <= set(words("粉色的长发"))
    assert words("Kevin, the LEADER!") == ["kevin", "the", "leader"]
    assert {"elysia", "喜欢", "花"} <= set(words("Elysia喜欢花"))


def test_long_words_are_followed_by_the_short_ones_inside():
    found = words("中华人民共和国")
    assert "中华人民共和国" in found
    assert "共和国" in found


def test_width_and_case_do_not_matter():
    assert words("ＡＢＣ１２３") == words("abc123")
    assert fold("Ｋevin") == "kevin"


def test_punctuation_and_emptiness_have_no_words():
    assert words("") == []
    assert words("，。！？ \n\t♪…—") == []


def test_terms_find_a_name_that_no_dictionary_has_whatever_stands_beside_it():
    """Guessed words differ with their surroundings: one text has 梅比乌斯, another 梅比 and 乌斯博士."""
    texts = ["梅比乌斯博士来了", "她是梅比乌斯", "问梅比乌斯吧"]
    for text in texts:
        assert {"梅比", "比乌", "乌斯"} <= set(terms(text))


def test_terms_hold_each_pair_once_with_the_words():
    assert sorted(terms("喜欢花")) == sorted(["喜欢", "花", "欢花"])
    assert terms("Kevin's sword") == ["kevin", "s", "sword"]
    assert terms("") == terms("，。") == []


def test_spans_point_into_the_text_as_given():
    text = "ＫＥＶＩＮ 喜欢①粉色的花ß。"
    for word, start, end in spans(text):
        assert fold(text[start:end]) == word


def marked(query: str, text: str) -> list[str]:
    return [text[start:end] for start, end in matching_spans(query, text)]


def test_words_of_the_question_are_marked_and_empty_ones_are_not():
    assert marked("爱莉希雅喜欢的花是什么？", "她喜欢的花是水晶花。") == ["喜欢", "花"]
    assert marked("她的生日", "她的生日会") == ["生日"]
    assert marked("art", "party art") == ["art"]
    assert marked("What is the LEADER called?", "Kevin is the leader.") == ["leader"]
    assert marked("什么是的", "什么是的") == []
    assert marked("", "text") == []
    assert marked("text", "") == []


def test_marks_do_not_overlap_and_come_in_order():
    found = matching_spans("中华人民共和国的共和国", "中华人民共和国与共和国")
    assert found == sorted(found)
    assert all(first[1] < second[0] for first, second in pairwise(found))


def test_a_very_long_question_is_answered():
    assert matching_spans("粉色" * 50_000, "粉色的花") == [(0, 2)]
