"""Sessions share nothing, answer one message at a time, and are forgotten when nobody comes back."""

from elysia_chat.configs.settings import Settings
from elysia_chat.ui.web.options import default_controls, reply_options
from elysia_chat.ui.web.sessions import Answer, Session, Sessions

OPTIONS = reply_options(Settings(), default_controls(Settings()))


def session() -> Session:
    return Session("en", "violet")


def answered(chat: Session, question: str, answer: str, position: int | None = None) -> None:
    assert chat.begin(question, OPTIONS, position)
    chat.pending.answers.append(Answer(lore=True, question=question, text=answer))
    chat.finish()


def test_only_one_message_is_answered_at_a_time():
    chat = session()
    assert chat.begin("first", OPTIONS)
    assert not chat.begin("second", OPTIONS)
    assert chat.pending.question == "first"


def test_a_message_without_an_answer_leaves_no_trace():
    chat = session()
    answered(chat, "first", "one")
    chat.begin("second", OPTIONS)
    chat.finish()
    assert [exchange.question for exchange in chat.exchanges] == ["first"]


def test_a_failed_retry_keeps_the_former_answer():
    chat = session()
    answered(chat, "first", "one")
    chat.begin("first", OPTIONS, 0)
    chat.finish()
    assert chat.exchanges[0].answers[0].text == "one"


def test_an_edit_drops_what_came_after():
    chat = session()
    for number in range(3):
        answered(chat, f"question {number}", "answer")
    answered(chat, "better", "answer", position=1)
    assert [exchange.question for exchange in chat.exchanges] == ["question 0", "better"]


def test_a_turn_uses_the_answer_of_its_own_kind():
    chat = session()
    chat.begin("first", OPTIONS)
    chat.pending.answers += [Answer(True, "first", "with"), Answer(False, "first", "without")]
    chat.finish()
    (exchange,) = chat.exchanges
    assert (exchange.turn(lore=True).answer, exchange.turn(lore=False).answer) == ("with", "without")


def test_an_answer_goes_to_the_persona_that_was_asked():
    chat = session()
    chat.begin("for violet", OPTIONS)
    chat.persona = "orchid"
    assert chat.visible_pending is None
    chat.pending.answers.append(Answer(True, "for violet", "answer"))
    chat.finish()
    assert chat.exchanges == []
    assert [exchange.question for exchange in chat.chat("violet")] == ["for violet"]


def test_clearing_one_chat_keeps_the_reply_to_another_persona():
    chat = session()
    chat.begin("for violet", OPTIONS)
    chat.persona = "orchid"
    chat.clear()
    chat.pending.answers.append(Answer(True, "for violet", "answer"))
    chat.finish()
    assert len(chat.chat("violet")) == 1


def test_stop_is_seen_before_the_answer_has_begun():
    chat = session()
    chat.begin("first", OPTIONS)
    chat.stop()
    assert chat.pending.stop.is_set()


def test_sessions_are_found_by_key_and_forgotten_when_idle():
    now = 0.0
    sessions = Sessions(idle_seconds=60, clock=lambda: now)
    ada = sessions.get("ada", session)
    assert sessions.get("ada", session) is ada
    now = 50.0
    eve = sessions.get("eve", session)
    assert eve is not ada
    now = 70.0
    assert sessions.get("eve", session) is eve
    assert len(sessions) == 1
    assert sessions.get("ada", session) is not ada


def test_a_session_that_is_being_answered_is_not_forgotten():
    now = 0.0
    sessions = Sessions(idle_seconds=60, clock=lambda: now)
    ada = sessions.get("ada", session)
    ada.begin("first", OPTIONS)
    now = 100.0
    sessions.get("eve", session)
    assert sessions.get("ada", session) is ada
    assert sessions.waiting() == 1


def test_what_is_pending_is_answered_once():
    chat = session()
    assert chat.start() is None
    chat.begin("first", OPTIONS)
    assert chat.start() is chat.pending
    assert chat.start() is None
    assert not chat.pending.ended
