import threading

import pytest

from elysia_chat.chains.conversation import Conversation
from elysia_chat.chains.errors import MessageError
from elysia_chat.chains.events import Finished, Retrieved, Searching, Sentence, Token, Usage
from elysia_chat.chains.followup import rewrite_by_rules
from elysia_chat.chains.prompt import Turn
from elysia_chat.chains.qa import RetrievalQAChain

from .parts import VOICES, Parrot, Shelf, passage


def conversation(*replies: str, **changes: object) -> Conversation:
    chain = RetrievalQAChain(
        voices=VOICES,  # type: ignore[arg-type]
        model=Parrot(replies=list(replies)),
        retriever=Shelf(passages=[passage("樱的妹妹是铃。")]),
        rewrite=rewrite_by_rules(["樱"]),
    )
    return Conversation(chain, **changes)  # type: ignore[arg-type]


def prompts(one: Conversation) -> list[list[object]]:
    assert isinstance(one.chain.model, Parrot)
    return [[message.content for message in prompt] for prompt in one.chain.model.prompts]


def test_events_in_their_order():
    events = list(conversation("是铃。真好♪ [1] [7]").stream("樱的妹妹是谁？"))
    assert isinstance(events[0], Retrieved)
    assert "".join(event.text for event in events if isinstance(event, Token)) == "是铃。真好♪ [1] [7]"
    assert [event.text for event in events if isinstance(event, Sentence)] == ["是铃。", "真好♪ [1] [7]"]
    first_sentence = next(i for i, event in enumerate(events) if isinstance(event, Sentence))
    last_token = max(i for i, event in enumerate(events) if isinstance(event, Token))
    assert first_sentence < last_token, "a sentence must not wait for the whole reply"
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.cited == (1,), "a number without a passage is no citation"
    assert finished.usage == Usage(7, 14)
    assert finished.timings.first_token_s is not None
    assert 0 < finished.timings.first_token_s <= finished.timings.total_s
    assert not finished.stopped


def test_the_next_message_knows_the_turns_before():
    one = conversation("一位武士 [1]。", "铃。")
    list(one.stream("樱是谁？"))
    events = list(one.stream("她的妹妹呢？"))
    assert events[0] == Searching("樱的妹妹呢？")
    assert prompts(one)[1][1:3] == ["樱是谁？", "一位武士。"]
    assert [turn.question for turn in one.turns] == ["樱是谁？", "她的妹妹呢？"]


def test_sessions_share_nothing():
    first, second = conversation("甲"), conversation("乙")
    list(first.stream("秘密是玫瑰"))
    list(second.stream("你好"))
    assert "玫瑰" not in str(prompts(second))
    assert [turn.question for turn in second.turns] == ["你好"]


def test_stop_ends_the_computation_and_keeps_what_was_said():
    one = conversation("一二三四五六")
    events = []
    for event in one.stream("数数"):
        events.append(event)
        if isinstance(event, Token) and event.text == "二":
            one.stop()
    assert isinstance(events[-1], Finished)
    assert events[-1].stopped
    assert one.chain.model.said == ["一二"]  # type: ignore[attr-defined]
    assert one.turns == [Turn("数数", "一二")]
    assert list(one.stream("再来"))[-1].stopped is False  # type: ignore[union-attr]


def test_closing_the_stream_stops_too():
    one = conversation("一二三四五六")
    stream = one.stream("数数")
    while not isinstance(next(stream), Token):
        pass
    stream.close()
    assert one.chain.model.said == ["一"]  # type: ignore[attr-defined]
    assert one.turns == [Turn("数数", "一")]


@pytest.mark.parametrize("text", ["", " \n", "a" * 4001])
def test_a_bad_message_changes_nothing(text: str):
    one = conversation("好")
    with pytest.raises(MessageError):
        list(one.stream(text))
    assert one.turns == []
    assert list(one.stream("你好"))


class _Broken(Parrot):
    def _stream(self, *args: object, **kwargs: object):  # type: ignore[no-untyped-def, override]
        if not self.said:
            self.said.append("")
            raise RuntimeError
        yield from super()._stream(*args, **kwargs)  # type: ignore[arg-type]


def test_a_failure_leaves_the_conversation_as_it_was():
    chain = RetrievalQAChain(voices=VOICES, model=_Broken(replies=["好"]))  # type: ignore[arg-type]
    one = Conversation(chain)
    with pytest.raises(RuntimeError):
        list(one.stream("你好"))
    assert one.turns == []
    assert list(one.stream("你好"))
    assert len(one.turns) == 1


def test_undo_rewind_reset():
    one = conversation("好")
    for text in ("一", "二", "三"):
        list(one.stream(text))
    assert one.undo() == Turn("三", "好")
    one.rewind(1)
    assert [turn.question for turn in one.turns] == ["一"]
    one.reset()
    assert one.undo() is None


def test_language_follows_the_message_and_goes_on_without_words():
    one = conversation("ok")
    for text in ("Who are you?", "?!", "你是谁"):
        list(one.stream(text))
    heads = [str(prompt[0])[:7] for prompt in prompts(one)]
    assert heads == ["You are", "You are", "你是爱莉希雅。"]


def test_two_threads_take_turns():
    one = conversation("好的，没问题。")
    threads = [threading.Thread(target=lambda: list(one.stream("你好"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.turns == [Turn("你好", "好的，没问题。")] * 4
