"""From a session's message to its answers, step by step, without any of the page's components."""

from collections.abc import Generator, Iterator
from typing import TYPE_CHECKING

from elysia_chat.chains.events import Event, Finished, Retrieved, Searching, Sentence, Token
from elysia_chat.chains.sentences import SentenceSplitter
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.sessions import Answer, Exchange, Pending, Session
from elysia_chat.ui.web.speech import SpokenReply

if TYPE_CHECKING:
    from elysia_chat.voice.stream import SpeechStream


def answer_pending(services: Services, session: Session) -> Generator[Pending, None, None]:
    """Answer what a session has pending, unless somebody else does; yields it after each change.

    An error that a user may read ends up in `Pending.error`. Closing the iterator ends the computation.
    """
    pending = session.start()
    if pending is None:
        return
    history = session.chat(pending.persona)[: pending.position]
    try:
        if services.settings.voice.enabled:
            pending.speech = open_speech(services, session, pending.persona)
        for lore in pending.options.ways:
            if pending.stop.is_set():
                break
            yield from _answer(services, pending, history, lore)
    except ElysiaChatError as error:
        pending.error = str(error)
        yield pending
    finally:
        pending.ended = True
        if pending.speech is not None:
            pending.speech.finish()


def open_speech(services: Services, session: Session, persona: str) -> SpokenReply:
    """Begin a spoken reply of a persona in the voices that a session has chosen."""
    chosen, speed = session.voice.names.get(persona, {}), session.voice.speed

    def open_stream() -> "SpeechStream":
        return services.speech.stream(services.speaker(persona, voices=chosen, speed=speed))

    reply = SpokenReply(open_stream)
    session.voice.begin(reply)
    return reply


def speak_again(services: Services, session: Session, exchange: int, answer: int) -> SpokenReply | None:
    """Speak an answer of a session's chat from its begin; None where there is none of these numbers."""
    if exchange >= len(session.exchanges) or answer >= len(session.exchanges[exchange].answers):
        return None
    reply = open_speech(services, session, session.persona)
    splitter = SentenceSplitter()
    text = session.exchanges[exchange].answers[answer].text
    for sentence in (*splitter.feed(text), *splitter.close()):
        reply.feed(sentence)
    reply.finish()
    return reply


def _answer(services: Services, pending: Pending, history: list[Exchange], lore: bool) -> Iterator[Pending]:
    answer = Answer(lore, pending.question)
    if pending.answers and pending.speech is not None:
        pending.speech.finish()
    pending.answers.append(answer)
    yield pending
    options = pending.options
    conversation = services.conversation(
        pending.persona, rag=lore, retrieval=options.retrieval, sampling=options.sampling
    )
    conversation.turns[:] = [exchange.turn(lore) for exchange in history]
    pending.conversation = conversation
    events = conversation.stream(pending.question)
    try:
        for event in events:
            if pending.stop.is_set():
                conversation.stop()
            # Of two answers that are compared, the first is spoken.
            if isinstance(event, Sentence) and pending.speech is not None and answer is pending.answers[0]:
                pending.speech.feed(event.text)
            if _apply(event, answer):
                yield pending
    finally:
        events.close()
        pending.conversation = None


def _apply(event: Event, answer: Answer) -> bool:
    """Put what an event says into the answer; False where nothing that is shown has changed."""
    match event:
        case Searching(question):
            answer.question = question
        case Retrieved(passages):
            answer.passages = passages
        case Token(text):
            answer.text += text
        case Finished():
            answer.text, answer.passages, answer.cited = event.answer, event.passages, event.cited
            answer.timings, answer.stopped, answer.truncated = event.timings, event.stopped, event.truncated
            answer.done = True
        case _:
            return False
    return True
