import pytest

from elysia_chat.chains.followup import no_rewrite, points_back, rewrite_by_model, rewrite_by_rules
from elysia_chat.chains.prompt import Turn

from .parts import Parrot

NAMES = ["樱", "伊甸", "Sakura", "Eden", "往世乐土"]
ABOUT_SAKURA = [Turn("伊甸是谁？", "一位歌者。"), Turn("樱是谁？", "樱是一位武士，和伊甸相识。")]
ABOUT_EDEN = [Turn("Who is Eden?", "Eden is a singer.")]


@pytest.mark.parametrize(
    ("question", "history", "searched"),
    [
        ("她的妹妹呢？", ABOUT_SAKURA, "樱的妹妹呢？"),
        ("那她用什么武器？", ABOUT_SAKURA, "那樱用什么武器？"),
        ("生日呢？", ABOUT_SAKURA, "樱 生日呢？"),
        ("What is her birthday?", ABOUT_EDEN, "What is Eden's birthday?"),
        ("Where does she live?", ABOUT_EDEN, "Where does Eden live?"),
        ("往世乐土在哪里？", ABOUT_SAKURA, "往世乐土在哪里？"),
        ("她和伊甸是什么关系？", ABOUT_SAKURA, "她和伊甸是什么关系？"),
        ("逐火之蛾是由哪些人建立起来的组织？", ABOUT_SAKURA, "逐火之蛾是由哪些人建立起来的组织？"),
        ("她的妹妹呢？", [], "她的妹妹呢？"),
        ("她的妹妹呢？", [Turn("那位武士叫什么？", "不知道。")], "那位武士叫什么？ 她的妹妹呢？"),
    ],
)
def test_rules(question: str, history: list[Turn], searched: str):
    assert rewrite_by_rules(NAMES)(question, history) == searched


def test_names_in_the_answer_count_when_the_question_has_none():
    assert rewrite_by_rules(NAMES)("她多大？", [Turn("谁会唱歌？", "伊甸会唱歌。")]) == "伊甸多大？"


@pytest.mark.parametrize("question", ["为什么？", "And then?", "她呢", "Why did she leave?"])
def test_points_back(question: str):
    assert points_back(question)


@pytest.mark.parametrize("question", ["爱莉希雅最喜欢的花是什么？", "Who founded the Flame-Chasers?"])
def test_stands_alone(question: str):
    assert not points_back(question)


def test_a_model_can_rewrite():
    model = Parrot(replies=["樱的妹妹是谁？\n因为…"])
    assert rewrite_by_model(model)("她的妹妹呢？", ABOUT_SAKURA) == "樱的妹妹是谁？"
    assert "樱是谁？" in str(model.prompts[0][-1].content)
    assert rewrite_by_model(model)("她的妹妹呢？", []) == "她的妹妹呢？"


def test_off():
    assert no_rewrite("她呢？", ABOUT_SAKURA) == "她呢？"
