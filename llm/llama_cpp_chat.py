"""A LangChain chat model over llama.cpp in this process."""

from pathlib import Path
from typing import Any, Self

from elysia_chat.llm.llama_cpp import LlamaCppEngine
from elysia_chat.llm.loading import load_tokenizer
from elysia_chat.llm.local_chat import LocalChatModel


class LlamaCppChatModel(LocalChatModel):
    """Answers with llama.cpp; made with `from_gguf`."""

    @classmethod
    def from_gguf(
        cls,
        gguf: Path,
        tokenizer: str | Path,
        *,
        context_tokens: int | None = None,
        parallel: int = 1,
        threads: int | None = None,
        **fields: Any,
    ) -> Self:
        """Load a model.

        Args:
            gguf: its file.
            tokenizer: folder with the tokenizer that the file was made with.
            context_tokens: longest prompt plus answer; unset: 8,192, or the model's limit where that is less.
            parallel: answers in work at once.
            threads: that compute; unset: as `LlamaCppEngine` chooses.
            fields: of this class.

        Raises:
            ModelLoadError: file or tokenizer cannot be loaded.
        """
        engine = LlamaCppEngine(
            gguf, load_tokenizer(tokenizer), context_tokens=context_tokens, parallel=parallel, threads=threads
        )
        return cls(engine=engine, **{"model_name": gguf.stem, **fields})

    @property
    def _llm_type(self) -> str:
        return "llama.cpp"
