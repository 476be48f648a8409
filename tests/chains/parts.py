"""What the tests of the chains are built from: a persona, a shelf of passages, and a model that remembers."""

from collections.abc import Iterator
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.retrievers import BaseRetriever
from pydantic import Field

from elysia_chat.kb.card import LocalizedCard

VOICES = {
    "zh": LocalizedCard(name="爱莉希雅", system_prompt="你是爱莉希雅。", greeting="嗨♪"),
    "en": LocalizedCard(name="Elysia", system_prompt="You are Elysia.", greeting="Hi♪"),
}


def passage(text: str, document: str = "a.md", title: str = "标题", heading: str = "") -> Document:
    return Document(page_content=text, metadata={"document": document, "title": title, "heading": heading})


class Shelf(BaseRetriever):
    """Gives the passages that share most characters with the question."""

    passages: list[Document]
    asked: list[str] = Field(default_factory=list)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        self.asked.append(query)
        return sorted(self.passages, key=lambda p: -len(set(query) & set(p.page_content)))[:2]


class Parrot(BaseChatModel):
    """Says what it was given to say, character by character, and remembers every prompt and how far it got."""

    replies: list[str]
    prompts: list[list[BaseMessage]] = Field(default_factory=list)
    sampling: list[dict[str, Any]] = Field(default_factory=list)
    said: list[str] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "parrot"

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        text = "".join(str(chunk.message.content) for chunk in self._stream(messages, stop, run_manager, **kwargs))
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        self.prompts.append(messages)
        self.sampling.append(kwargs)
        reply = self.replies[(len(self.prompts) - 1) % len(self.replies)]
        self.said.append("")
        for character in reply:
            self.said[-1] += character
            yield ChatGenerationChunk(message=AIMessageChunk(content=character))
        usage = {"input_tokens": 7, "output_tokens": len(reply), "total_tokens": 7 + len(reply)}
        last = AIMessageChunk(content="", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
        yield ChatGenerationChunk(message=last)


def words(text: str) -> int:
    """A token counter for tests: one token a character."""
    return len(text)
