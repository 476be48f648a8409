"""From a session's message to its answers, step by step, without any of the page's components."""

from collections.abc import Generator, Iterator

from elysia_chat.chains.events import Event, Finished, Retrieved, Searching, Token
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.sessions import Answer, Exchange, Pending, Session


def answer_pending(services: Services, session: Session) -> Generator[Pending, None, None]:
    """Answer what a session has pending; yields it after each change.

    An error that a user may read ends up in `Pending.error`. Closing the iterator ends the computation.
    """
    pending = session.pending
    if pending is None:
        return
    pending.started = True
    history = session.chat(pending.persona)[: pending.position]
    try:
        for lore in pending.options.ways:
            if pending.stop.is_set():
                break
            yield from _answer(services, pending, history, lore)
    except ElysiaChatError as error:
        pending.error = str(error)
        yield pending


def _answer(services: Services, pending: Pending, history: list[Exchange], lore: bool) -> Iterator[Pending]:
    answer = Answer(lore, pending.question)
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
