"""A LangChain chat model over any causal language model of transformers."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

from pydantic import Field

from elysia_chat.llm.capacity import Quantization
from elysia_chat.llm.engine import PREFIX_TOKENS
from elysia_chat.llm.engines import choose_engine
from elysia_chat.llm.loading import load_model
from elysia_chat.llm.local_chat import LocalChatModel


class TransformersChatModel(LocalChatModel):
    """Answers with a model of transformers; made with `from_folder`.

    Attributes:
        threads: of torch, in the thread that computes; unset: torch's own choice.
    """

    threads: int | None = Field(None, ge=1)

    @classmethod
    def from_folder(
        cls,
        name: str | Path,
        *,
        adapter: Path | None = None,
        dtype: str = "auto",
        device: str = "auto",
        quantization: Quantization = "none",
        context_tokens: int | None = None,
        prefix_tokens: int = PREFIX_TOKENS,
        parallel: int = 1,
        int8_decoding: bool = False,
        **fields: Any,
    ) -> Self:
        """Load a model.

        Args:
            name: folder or hub name.
            adapter: PEFT folder that is merged into the model, or put beside its weights where they are quantised.
            dtype: 'auto', 'float32', 'bfloat16' or 'float16'.
            device: 'auto', 'cpu', 'cuda', 'cuda:1', 'mps'.
            quantization: 'none', '8bit' or '4bit'.
            context_tokens: longest prompt plus answer; unset: the model's limit.
            prefix_tokens: tokens of prompt beginnings whose keys and values are kept on a CPU; 0 keeps none.
            parallel: answers written at once on a GPU; on a CPU it is one at a time.
            int8_decoding: on a CPU, compute an answer's tokens with 8-bit copies of the weights.
            fields: of this class.

        Raises:
            ModelLoadError: the model cannot be loaded.
            AdapterError: the adapter cannot be read or belongs to another model.
        """
        model, tokenizer = load_model(str(name), adapter, dtype, device, quantization)
        if int8_decoding and model.device.type == "cpu":
            from elysia_chat.llm.int8_decoding import decode_in_int8

            decode_in_int8(model)
        engine = choose_engine(model, tokenizer, context_tokens, prefix_tokens, parallel)
        return cls(engine=engine, **{"model_name": Path(name).name, **fields})

    @property
    def _llm_type(self) -> str:
        return "transformers"

    def _thread_setup(self) -> Callable[[], None] | None:
        return None if self.threads is None else partial(_use_threads, self.threads)


def _use_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
