"""The retrieval QA chain: question → search question → passages → prompt → answer, as one LangChain Runnable.

    chain.invoke({"question": "樱的妹妹是谁？"})
    {"question": …, "search_question": …, "source_documents": [Document, …], "answer": …, "usage": {…}}

`stream` yields the same keys piece by piece: first `search_question`, then `source_documents`, then `answer` in tokens.
"""

from collections.abc import AsyncIterator, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessageChunk
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.runnables.config import run_in_executor
from langchain_core.runnables.utils import AddableDict

from elysia_chat.chains.followup import Rewriter, no_rewrite
from elysia_chat.chains.language import Language, detect_language
from elysia_chat.chains.prompt import Prompt, TokenCounter, Turn, Voice, build_prompt


class QuestionInput(TypedDict, total=False):
    """What the chain takes; only `question` is required."""

    question: str
    history: Sequence[Turn]
    language: Language


@dataclass(frozen=True)
class PromptBudget:
    """How many tokens go where. None is no limit; without `count_tokens` nothing is measured or dropped."""

    history_tokens: int = 768
    prompt_tokens: int | None = None
    count_tokens: TokenCounter | None = None


@dataclass(frozen=True)
class RetrievalQAChain(Runnable[QuestionInput, dict[str, Any]]):
    """Answers a question from the persona's lore, in the persona's voice.

    Args:
        voices: the persona by language.
        model: any LangChain chat model.
        retriever: where passages come from; None answers without lore.
        rewrite: makes a follow-up searchable.
        budget: limits of the prompt.
        sampling: keyword arguments for the model (`temperature`, `max_new_tokens`, …).
    """

    voices: Mapping[Language, Voice]
    model: BaseChatModel
    retriever: BaseRetriever | None = None
    rewrite: Rewriter = no_rewrite
    budget: PromptBudget = PromptBudget()
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def invoke(self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any) -> dict[str, Any]:
        """Answer a question and return everything that was used for it."""
        output: AddableDict = AddableDict()
        for piece in self.stream(input, config, **kwargs):
            output = output + AddableDict(piece)
        return dict(output)

    def stream(
        self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> Generator[dict[str, Any], None, None]:
        """Answer piece by piece. Closing the iterator stops the model."""
        question, history = input["question"], list(input.get("history", ()))
        language = input.get("language") or detect_language(question)
        yield AddableDict(question=question)
        passages: list[Document] | None = None
        if self.retriever is not None:
            search_question = self.rewrite(question, history)
            yield AddableDict(search_question=search_question)
            passages = self.retriever.invoke(search_question, config)
        prompt = self.prompt(question, history, passages, language)
        yield AddableDict(source_documents=prompt.passages)
        yield from self._answer(prompt, config, {**self.sampling, **kwargs})

    async def astream(
        self, input: QuestionInput, config: RunnableConfig | None = None, **kwargs: Any
    ) -> AsyncIterator[dict[str, Any]]:
        """Answer piece by piece without holding up the event loop."""
        pieces = self.stream(input, config, **kwargs)
        try:
            while (piece := await run_in_executor(config, next, pieces, None)) is not None:
                yield piece
        finally:
            await run_in_executor(config, pieces.close)

    def prompt(
        self, question: str, history: Sequence[Turn], passages: Sequence[Document] | None, language: Language
    ) -> Prompt:
        """Return the prompt of a question, within the budget."""
        return build_prompt(
            self.voices[language],
            language,
            question,
            passages,
            history,
            count_tokens=self.budget.count_tokens,
            history_tokens=self.budget.history_tokens,
            prompt_tokens=self.budget.prompt_tokens,
        )

    def _answer(
        self, prompt: Prompt, config: RunnableConfig | None, sampling: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        usage: dict[str, int] = {"input_tokens": 0, "output_tokens": 0}
        finish_reason = "stop"
        for message in self.model.stream(prompt.messages, config, **sampling):
            if isinstance(message, AIMessageChunk) and message.usage_metadata:
                for key in usage:
                    usage[key] += message.usage_metadata[key]  # type: ignore[literal-required]
            finish_reason = message.response_metadata.get("finish_reason") or finish_reason
            if message.text:
                yield AddableDict(answer=str(message.text))
        yield AddableDict(usage=usage, finish_reason=finish_reason)
