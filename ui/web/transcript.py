"""The conversation as HTML: greeting, messages, answers with their sources, and the tools beside them.

A button carries `data-action` and `data-value`; the page sends both to the server when it is pressed.
"""

from collections.abc import Sequence

from elysia_chat.ui.web.icons import icon
from elysia_chat.ui.web.markup import escape, reply_html
from elysia_chat.ui.web.sessions import Answer, Exchange, Pending, Session
from elysia_chat.ui.web.sources import sources_html
from elysia_chat.ui.web.texts import TEXTS, Texts

_MAX_EXAMPLES = 5


def history_html(session: Session, name: str, greeting: str, examples: Sequence[str]) -> str:
    """Return everything of a chat that is settled, and the message that is being answered.

    Args:
        session: whose chat.
        name: of the persona.
        greeting: its first words.
        examples: questions to start with.
    """
    texts = TEXTS[session.language]
    pending = session.visible_pending
    settled = session.exchanges if pending is None else session.exchanges[: pending.position]
    fresh = not settled and pending is None
    parts = [_greeting(name, greeting, examples if fresh else (), fresh)]
    last = len(settled) - 1
    for index, exchange in enumerate(settled):
        parts.append(_exchange(exchange, index, texts, is_last=index == last and pending is None))
    if pending is not None:
        parts.append(f'<article class="exchange">{_message(pending.question)}</article>')
    if session.notice:
        parts.append(f'<p class="notice" role="status">{escape(session.notice)}</p>')
    return f'<div class="transcript" role="log" aria-live="polite">{"".join(parts)}</div>'


def live_html(pending: Pending | None, texts: Texts, ahead: int = 0) -> str:
    """Return the replies that are being written.

    Args:
        pending: the message; None shows nothing.
        texts: the interface.
        ahead: how many messages of others are answered first.
    """
    if pending is None:
        return ""
    speaking = f' data-speech="{escape(pending.speech.id)}"' if pending.speech is not None else ""
    if not pending.answers:
        status = texts.waiting.format(count=ahead) if ahead else texts.thinking
        return f'<div class="answering"{speaking}><div class="replies">{_reply(_status(status))}</div></div>'
    compared = len(pending.options.ways) > 1
    replies = "".join(_reply(_label(answer, texts, compared) + _growing(answer, texts)) for answer in pending.answers)
    two = " two" if compared else ""
    return f'<div class="answering"{speaking}><div class="replies{two}">{replies}</div></div>'


def editing_html(session: Session) -> str:
    """Return the line above the box that says that a message is being edited."""
    if session.editing is None:
        return ""
    texts = TEXTS[session.language]
    cancel = f'<button type="button" data-action="cancel-edit">{escape(texts.cancel_edit)}</button>'
    return f'<div class="editing"><span>{escape(texts.editing)}</span>{cancel}</div>'


def _greeting(name: str, greeting: str, examples: Sequence[str], fresh: bool) -> str:
    chips = "".join(
        f'<button type="button" class="chip" data-action="ask" data-value="{text}">{text}</button>'
        for text in map(escape, examples[:_MAX_EXAMPLES])
    )
    chips = f'<div class="chips">{chips}</div>' if chips else ""
    portrait = f'<div class="portrait" role="img" aria-label="{escape(name)}"></div>' if fresh else ""
    title = f"<h1>{escape(name)}</h1>" if fresh else ""
    bubble = f'<div class="bubble"><div class="text">{reply_html(greeting)}</div></div>'
    return f'<section class="greeting{" fresh" if fresh else ""}">{portrait}{title}{_reply(bubble)}{chips}</section>'


def _exchange(exchange: Exchange, index: int, texts: Texts, *, is_last: bool) -> str:
    edit = _tool("edit", texts.edit, str(index))
    compared = len(exchange.answers) > 1
    replies = "".join(
        _reply(_label(answer, texts, compared) + _settled(answer, texts, (index, number), is_last and number == 0))
        for number, answer in enumerate(exchange.answers)
    )
    return (
        f'<article class="exchange">{_message(exchange.question, edit)}'
        f'<div class="replies{" two" if compared else ""}">{replies}</div></article>'
    )


def _message(question: str, tools: str = "") -> str:
    return f'<div class="mine"><div class="bubble">{escape(question)}</div>{tools}</div>'


def _reply(body: str) -> str:
    return f'<div class="reply"><span class="avatar" aria-hidden="true"></span><div class="body">{body}</div></div>'


def _label(answer: Answer, texts: Texts, compared: bool) -> str:
    if not compared:
        return ""
    return f'<div class="way">{escape(texts.with_lore if answer.lore else texts.without_lore)}</div>'


def _growing(answer: Answer, texts: Texts) -> str:
    if answer.done:
        return _bubble(answer, texts)
    if answer.text:
        numbers = range(1, len(answer.passages or ()) + 1)
        return f'<div class="bubble"><div class="text writing">{reply_html(answer.text, numbers)}</div></div>'
    if answer.passages is not None and answer.lore:
        return _status(texts.reading.format(count=len(answer.passages)))
    if not answer.lore:
        return _status(texts.thinking)
    return _status(texts.searching)


def _settled(answer: Answer, texts: Texts, place: tuple[int, int], with_tools: bool) -> str:
    tools = _tool("speak", texts.speak, f"{place[0]}/{place[1]}") + _tool("copy", texts.copy)
    if with_tools:
        tools += _tool("retry", texts.retry) + _tool("undo", texts.undo)
    timings = answer.timings
    times = ""
    if timings is not None and timings.first_token_s is not None:
        times = texts.timings.format(first=timings.first_token_s, total=timings.total_s)
        times = f'<span class="times">{escape(times)}</span>'
    sources = sources_html(answer.question, answer.passages or (), answer.cited, texts) if answer.lore else ""
    return f'{_bubble(answer, texts)}{sources}<div class="tools">{tools}{times}</div>'


def _bubble(answer: Answer, texts: Texts) -> str:
    notes = [note for note, shown in ((texts.stopped, answer.stopped), (texts.truncated, answer.truncated)) if shown]
    note = f'<div class="note">{escape(" · ".join(notes))}</div>' if notes else ""
    return f'<div class="bubble"><div class="text">{reply_html(answer.text, answer.cited)}</div>{note}</div>'


def _status(text: str) -> str:
    dots = '<span class="dots" aria-hidden="true"><i></i><i></i><i></i></span>'
    return f'<div class="bubble status">{dots}<span>{escape(text)}</span></div>'


def _tool(action: str, label: str, value: str = "") -> str:
    return (
        f'<button type="button" class="tool" data-action="{action}" data-value="{escape(value)}" '
        f'title="{escape(label)}" aria-label="{escape(label)}">{icon(action)}</button>'
    )
