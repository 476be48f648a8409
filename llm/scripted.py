"""A chat model that says what it is told: the fake beside the real ones, for trying the page and for tests."""

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel, agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

from elysia_chat.llm.errors import GenerationCancelledError
from elysia_chat.llm.stop_strings import StopStrings

# A Latin word with the blanks after it, or one other character: what a real model's tokens look like on the screen.
_TOKEN = re.compile(r"[A-Za-z0-9'’-]+\s*|\s+|.", re.DOTALL)


class ScriptedChatModel(BaseChatModel):
    """Gives its replies in turn and starts over after the last; without replies it repeats the user's message.

    Attributes:
        replies: what it says.
        delay_s: pause before each token, in seconds.
        max_new_tokens: longer replies are cut, with `finish_reason` "length".
        stop: strings that end a reply; they are not shown.
        context_tokens: longest prompt plus answer; unset: no limit.
        prompts: every prompt so far, in the order of arrival.
    """

    model_config = ConfigDict(populate_by_name=True)

    model_name: str = "scripted"
    replies: tuple[str, ...] = ()
    delay_s: float = Field(0.0, ge=0)
    max_new_tokens: int = Field(8192, ge=1, alias="max_tokens")
    stop: tuple[str, ...] = ()
    context_tokens: int | None = None
    prompts: list[list[BaseMessage]] = Field(default_factory=list, exclude=True)
    _lock: threading.Lock = PrivateAttr(default_factory=threading.Lock)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "replies": self.replies}

    def count_tokens(self, text: str) -> int:
        """Return how many tokens the text has: Latin words and other characters."""
        return len(split_tokens(text))

    def get_num_tokens(self, text: str) -> int:
        """Return how many tokens the text has."""
        return self.count_tokens(text)

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return generate_from_stream(self._stream(messages, stop, run_manager, **kwargs))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        return await agenerate_from_stream(self._astream(messages, stop, run_manager, **kwargs))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, kwargs):
            if self.delay_s and chunk.message.content:
                time.sleep(self.delay_s)
            _raise_if_cancelled(kwargs)
            yield chunk

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        for chunk in self._chunks(messages, stop, kwargs):
            await asyncio.sleep(self.delay_s if chunk.message.content else 0)
            _raise_if_cancelled(kwargs)
            yield chunk

    def _chunks(
        self, messages: list[BaseMessage], stop: Sequence[str] | None, overrides: dict[str, Any]
    ) -> Iterator[ChatGenerationChunk]:
        reply = self._next_reply(messages)
        limit = int(overrides.get("max_new_tokens") or overrides.get("max_tokens") or self.max_new_tokens)
        stops = StopStrings(self.stop if stop is None else stop)
        tokens = split_tokens(reply)
        said = 0
        for token in tokens[:limit]:
            said += 1
            if text := stops.push(token):
                yield _chunk(text)
            if stops.met:
                break
        if text := stops.flush():
            yield _chunk(text)
        prompt_tokens = sum(self.count_tokens(message.text) for message in messages)
        usage = UsageMetadata(input_tokens=prompt_tokens, output_tokens=said, total_tokens=prompt_tokens + said)
        finish_reason = "stop" if stops.met or said == len(tokens) else "length"
        yield ChatGenerationChunk(
            message=AIMessageChunk(
                content="",
                usage_metadata=usage,
                response_metadata={
                    "finish_reason": finish_reason,
                    "model_name": self.model_name,
                    "model_provider": self._llm_type,
                },
                chunk_position="last",
            )
        )

    def _next_reply(self, messages: list[BaseMessage]) -> str:
        with self._lock:
            turn = len(self.prompts)
            self.prompts.append(list(messages))
        if self.replies:
            return self.replies[turn % len(self.replies)]
        return next((str(message.text) for message in reversed(messages) if message.type == "human"), "")


def split_tokens(text: str) -> list[str]:
    """Cut a text into Latin words (with the blanks after them) and single other characters; joined, they are it."""
    return _TOKEN.findall(text)


def _chunk(text: str) -> ChatGenerationChunk:
    return ChatGenerationChunk(message=AIMessageChunk(content=text))


def _raise_if_cancelled(overrides: dict[str, Any]) -> None:
    cancelled = overrides.get("cancelled")
    if cancelled is not None and cancelled.is_set():
        msg = "The reply was cancelled."
        raise GenerationCancelledError(msg)
