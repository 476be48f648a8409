"""What `/v1/chat/completions` answers: OpenAI's objects, with the sources as an extension."""

import json
import time
import uuid
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, Field

from elysia_chat.chains.events import Finished

if TYPE_CHECKING:
    from langchain_core.documents import Document

FinishReason = Literal["stop", "length"]


class Source(BaseModel):
    """A passage that was in the prompt.

    Attributes:
        number: as the answer cites it: [1].
        document: path in the lore.
        title: of the document.
        heading: the path of headings above the passage, joined by " > ".
        text: the passage.
        score: 0 to 1, comparable within one answer only.
        cited: whether the answer names it.
    """

    number: int
    document: str
    title: str
    heading: str
    text: str
    score: float | None
    cited: bool


class Usage(BaseModel):
    """Tokens of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class AnswerMessage(BaseModel):
    """The answer."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    sources: list[Source] = Field(description="extension: the passages that the answer stands on")


class Choice(BaseModel):
    """The one answer."""

    index: int = 0
    message: AnswerMessage
    logprobs: None = None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """A whole answer."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    choices: list[Choice]
    usage: Usage


class Reply:
    """Makes the objects of one answer, which share an id.

    Args:
        model: as the client named it.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self._id = f"chatcmpl-{uuid.uuid4().hex}"
        self._created = int(time.time())

    def whole(self, finished: Finished) -> ChatCompletion:
        """Return an answer in one piece."""
        message = AnswerMessage(content=finished.answer, sources=sources(finished))
        choice = Choice(message=message, finish_reason=finish_reason(finished))
        return ChatCompletion(
            id=self._id, created=self._created, model=self._model, choices=[choice], usage=usage(finished)
        )

    def begin(self) -> str:
        """Return the first piece of a stream, as JSON."""
        return self._piece([_choice({"role": "assistant", "content": ""})])

    def token(self, text: str) -> str:
        """Return a piece with text, as JSON."""
        return self._piece([_choice({"content": text})])

    def end(self, finished: Finished) -> str:
        """Return the last piece of the answer, with its sources, as JSON."""
        passages = [source.model_dump() for source in sources(finished)]
        return self._piece([_choice({"sources": passages}, finish_reason(finished))])

    def usage(self, finished: Finished) -> str:
        """Return the piece that only counts, as JSON."""
        return self._piece([], usage(finished).model_dump())

    def _piece(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> str:
        piece = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._model,
            "choices": choices,
            "usage": usage,
        }
        return json.dumps(piece, ensure_ascii=False)


def sources(finished: Finished) -> list[Source]:
    """Return the passages of an answer."""
    return list(_sources(finished.passages, finished.cited))


def usage(finished: Finished) -> Usage:
    """Return the tokens of an answer."""
    asked, answered = finished.usage.input_tokens, finished.usage.output_tokens
    return Usage(prompt_tokens=asked, completion_tokens=answered, total_tokens=asked + answered)


def finish_reason(finished: Finished) -> FinishReason:
    """Return why an answer ended."""
    return "length" if finished.truncated else "stop"


def _choice(delta: dict[str, Any], reason: FinishReason | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}


def _sources(passages: "Iterable[Document]", cited: Iterable[int]) -> Iterable[Source]:
    for number, passage in enumerate(passages, start=1):
        known = passage.metadata
        score = known.get("score")
        yield Source(
            number=number,
            document=known.get("document", ""),
            title=known.get("title", ""),
            heading=known.get("heading", ""),
            text=passage.page_content,
            score=None if score is None else round(float(score), 4),
            cited=number in cited,
        )
