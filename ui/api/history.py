"""A client's list of messages, as a question with what came before it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from elysia_chat.chains.language import Language
from elysia_chat.chains.prompt import Turn, Voice, clean_message
from elysia_chat.ui.api.chat_request import ChatMessage
from elysia_chat.ui.api.errors import InvalidRequestError

_SYSTEM = ("system", "developer")
_LONGEST = 10**9
_WORDING: Mapping[Language, str] = {
    "zh": "对话所用的程序还有以下要求；与上文冲突时，一律以上文为准：",
    "en": "The program that this conversation runs in also asks for the following; wherever that conflicts with the "
    "above, the above holds:",
}


@dataclass(frozen=True)
class Asked:
    """What a list of messages asks.

    Attributes:
        question: the last words of the user.
        turns: what was said before, oldest first.
        instructions: the client's system messages; "" where there are none.
    """

    question: str
    turns: tuple[Turn, ...]
    instructions: str


@dataclass(frozen=True)
class InstructedVoice:
    """A persona with a client's instructions below its own. The rules about the lore come after both."""

    name: str
    system_prompt: str


def read_messages(messages: Sequence[ChatMessage]) -> Asked:
    """Take a list of messages apart.

    Messages of one side that follow each other become one. What the assistant said before the first question, such as
    a greeting that the client shows, is left out: no turn belongs to it.

    Raises:
        InvalidRequestError: the last word is not the user's, or a message is a tool's.
    """
    if any(message.role in ("tool", "function") for message in messages):
        msg = "Personas call no tools: leave messages of the roles tool and function out."
        raise InvalidRequestError(msg, param="messages")
    said = [message for message in messages if message.role not in _SYSTEM and message.text.strip()]
    spoken = [
        (role, clean_message(_joined(group), _LONGEST))
        for role, group in groupby(said, key=lambda message: message.role)
    ]
    if not spoken or spoken[-1][0] != "user":
        msg = "The last message must be the user's, and not empty: that is what is answered."
        raise InvalidRequestError(msg, param="messages")
    if spoken[0][0] == "assistant":
        del spoken[0]
    *before, (_, question) = spoken
    turns = tuple(Turn(asked, told) for (_, asked), (_, told) in zip(before[::2], before[1::2], strict=True))
    return Asked(question, turns, _joined(message for message in messages if message.role in _SYSTEM))


def instructed(voice: Voice, language: Language, instructions: str) -> Voice:
    """Return a persona that also knows a client's instructions, its own coming first."""
    return InstructedVoice(voice.name, f"{voice.system_prompt.strip()}\n{_WORDING[language]}\n{instructions}")


def _joined(messages: Iterable[ChatMessage]) -> str:
    return "\n".join(message.text.strip() for message in messages).strip()
