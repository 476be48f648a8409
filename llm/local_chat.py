"""What LangChain chat models in this process have in common: the queue, the sampling fields, and the counting."""

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.base import LangSmithParams
from langchain_core.language_models.chat_models import BaseChatModel, agenerate_from_stream, generate_from_stream
from langchain_core.messages import AIMessageChunk, BaseMessage
from langchain_core.messages.ai import InputTokenDetails, UsageMetadata
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from pydantic import ConfigDict, Field, PrivateAttr

from elysia_chat.llm.answer_engine import AnswerEngine, Ended, Piece
from elysia_chat.llm.chat_prompt import ChatPrompt
from elysia_chat.llm.generation_queue import GenerationQueue, Stopped, Work
from elysia_chat.llm.sampling import Sampling

_OVERRIDES = ("temperature", "top_p", "top_k", "repetition_penalty", "seed")


class LocalChatModel(BaseChatModel):
    """Answers with an engine in this process; a subclass says which, and how it is loaded.

    As many answers are written at once as the engine is made for, first come first served; callers may be threads or
    event loops. Closing a stream ends the computation before its next step. Every sampling field can be given per call
    as well, and also `cancelled`, a `threading.Event` that ends the wait or the answer with a GenerationCancelledError.

    Attributes:
        engine: writes the answers.
        model_name: shown in `response_metadata`.
        queue: how many requests may wait while others are answered; the next is refused with a ModelBusyError.
        max_new_tokens, temperature, top_p, top_k, repetition_penalty, seed, stop: see `sampling.Sampling`.
    """

    model_config = ConfigDict(populate_by_name=True, arbitrary_types_allowed=True)

    engine: AnswerEngine = Field(exclude=True, repr=False)
    model_name: str
    queue: int = Field(256, ge=0)
    max_new_tokens: int = Field(256, ge=1, alias="max_tokens")
    temperature: float = Field(0.0, ge=0.0)
    top_p: float = Field(0.95, gt=0.0, le=1.0)
    top_k: int = Field(50, ge=0)
    repetition_penalty: float = Field(1.05, gt=0.0)
    seed: int | None = None
    stop: tuple[str, ...] = ()
    _prompt: ChatPrompt = PrivateAttr()
    _queue: GenerationQueue[Piece | Ended] = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Prepare prompt and queue."""
        super().model_post_init(context)
        self._prompt = ChatPrompt(self.engine.tokenizer)
        self._queue = GenerationQueue("generation", self._thread_setup(), self.engine.parallel, self.queue)

    @property
    def context_tokens(self) -> int | None:
        """Longest prompt plus answer, in tokens."""
        return self.engine.context_tokens

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model_name": self.model_name, "max_new_tokens": self.max_new_tokens, "stop": self.stop} | {
            name: getattr(self, name) for name in _OVERRIDES
        }

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        params = super()._get_ls_params(stop=stop, **kwargs)
        params["ls_provider"] = self._llm_type
        params["ls_max_tokens"] = self._sampling(stop, kwargs).max_new_tokens
        return params

    def count_tokens(self, text: str) -> int:
        """Return how many tokens the text has, without any around it."""
        return len(self.get_token_ids(text))

    def get_token_ids(self, text: str) -> list[int]:
        """Return the text's tokens, control tokens in it taken apart as in a prompt."""
        return list(self.engine.tokenizer(self._prompt.disarm(text), add_special_tokens=False)["input_ids"])

    def get_num_tokens_from_messages(self, messages: list[BaseMessage], tools: Sequence[Any] | None = None) -> int:
        """Return how many tokens the prompt of these messages has; tools are not known."""
        return len(self._prompt.tokens(messages))

    def close(self) -> None:
        """End the computation; waiting callers get no answer."""
        self._queue.close()
        self.engine.close()

    def _thread_setup(self) -> Callable[[], None] | None:
        """Return what a thread that computes does first; it may not hold the model, which would then never be freed."""
        return None

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
        pieces = self._queue.stream(self._work(messages, stop, kwargs), kwargs.get("cancelled"))
        try:
            for piece in pieces:
                yield self._chunk(piece)
        finally:
            pieces.close()

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        pieces = self._queue.astream(self._work(messages, stop, kwargs), kwargs.get("cancelled"))
        try:
            async for piece in pieces:
                yield self._chunk(piece)
        finally:
            await pieces.aclose()

    def _work(
        self, messages: list[BaseMessage], stop: list[str] | None, overrides: dict[str, Any]
    ) -> Work[Piece | Ended]:
        sampling = self._sampling(stop, overrides)

        def work(stopped: Stopped) -> Iterator[Piece | Ended]:
            return self.engine.answer(self._prompt.chunks(messages), sampling, stopped)

        return work

    def _sampling(self, stop: list[str] | None, overrides: dict[str, Any]) -> Sampling:
        values = {name: getattr(self, name) for name in _OVERRIDES}
        values |= {name: overrides[name] for name in _OVERRIDES if overrides.get(name) is not None}
        longest = overrides.get("max_new_tokens") or overrides.get("max_tokens") or self.max_new_tokens
        return Sampling(max_new_tokens=longest, stop=tuple(self.stop if stop is None else stop), **values)

    def _chunk(self, piece: Piece | Ended) -> ChatGenerationChunk:
        if isinstance(piece, Piece):
            return ChatGenerationChunk(message=AIMessageChunk(content=piece.text))
        usage = UsageMetadata(
            input_tokens=piece.prompt_tokens,
            output_tokens=piece.answer_tokens,
            total_tokens=piece.prompt_tokens + piece.answer_tokens,
            input_token_details=InputTokenDetails(cache_read=piece.reused_tokens),
        )
        metadata = {
            "finish_reason": piece.finish_reason,
            "model_name": self.model_name,
            "model_provider": self._llm_type,
        }
        message = AIMessageChunk(content="", usage_metadata=usage, response_metadata=metadata, chunk_position="last")
        return ChatGenerationChunk(message=message)
