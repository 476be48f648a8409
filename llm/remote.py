"""A model behind a server that speaks OpenAI's API: vLLM, LMDeploy, Ollama, llama.cpp, LM Studio, OpenAI itself."""

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any, Self
from urllib.parse import urlsplit

import openai
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models import LanguageModelInput
from langchain_core.messages import BaseMessage
from langchain_core.outputs import ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from elysia_chat.llm.errors import (
    GenerationCancelledError,
    RemoteAccessError,
    RemoteInterruptedError,
    RemoteModelError,
    RemoteRequestError,
    RemoteTimeoutError,
    RemoteUnavailableError,
    RemoteUnknownModelError,
)

# Sent where none is set: the client would take OPENAI_API_KEY from the environment and hand it to any server.
_NO_KEY = "none"
# A kept connection belongs to the event loop that opened it and fails in the next one; a new one costs nothing beside
# an answer.
_ONE_REQUEST_EACH = {"Connection": "close"}
_WIDE = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\uff00-\uffef]")


class RemoteChatModel(ChatOpenAI):
    """ChatOpenAI whose failures are one-line errors of ours; made with `connect`.

    The sampling fields of the other models are accepted per call (`max_new_tokens`, `top_k`, `repetition_penalty`) and
    put where servers look for them. `cancelled`, a `threading.Event`, is looked at between tokens.

    Attributes:
        context_tokens: longest prompt plus answer, where it is known.
    """

    context_tokens: int | None = None

    @classmethod
    def connect(
        cls,
        base_url: str,
        name: str,
        *,
        api_key: SecretStr | None = None,
        timeout_s: float = 60.0,
        max_new_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 0.95,
        top_k: int = 50,
        repetition_penalty: float = 1.05,
        seed: int | None = None,
        stop: tuple[str, ...] = (),
        context_tokens: int | None = None,
    ) -> Self:
        """Return a model of a server; nothing is sent yet.

        Args:
            base_url: with the version, as in `http://127.0.0.1:8000/v1`.
            name: of the model at the server.
            api_key: only this key is sent, never one from the environment.
            timeout_s: longest silence of the server, in seconds.
            max_new_tokens: longest answer.
            temperature: 0 takes the likeliest token always.
            top_p: sample from the likeliest tokens that together have this probability.
            top_k: sample from this many likeliest tokens; 0 is off. Not sent to OpenAI's own server, which refuses it.
            repetition_penalty: of tokens that came before. Not sent to OpenAI's own server either.
            seed: makes the answer repeatable, where the server can.
            stop: strings that end the answer.
            context_tokens: longest prompt plus answer, where it is known.
        """
        beyond_openai = {"top_k": top_k or -1, "repetition_penalty": repetition_penalty}
        return cls(
            base_url=base_url,
            model=name,
            api_key=api_key or SecretStr(_NO_KEY),
            timeout=timeout_s,
            stream_chunk_timeout=timeout_s,
            max_retries=0,
            default_headers=_ONE_REQUEST_EACH,
            stream_usage=True,
            use_responses_api=False,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            stop=list(stop) or None,
            max_completion_tokens=max_new_tokens,
            extra_body=None if _is_openai(base_url) else beyond_openai,
            context_tokens=context_tokens,
        )

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Tell LangChain not to write this model, with its address, into saved chains."""
        return False

    @property
    def _llm_type(self) -> str:
        return "openai-compatible"

    def count_tokens(self, text: str) -> int:
        """Return roughly how many tokens the text has: one for a Chinese character, one for three others."""
        wide = len(_WIDE.findall(text))
        return wide + -(-(len(text) - wide) // 3)

    def get_num_tokens(self, text: str) -> int:
        """Return roughly how many tokens the text has; the server's tokenizer is not known here."""
        return self.count_tokens(text)

    def get_num_tokens_from_messages(self, messages: Any, tools: Any = None, **kwargs: Any) -> int:
        """Return roughly how many tokens the messages have."""
        return sum(self.count_tokens(str(message.text)) for message in messages)

    def _get_request_payload(
        self, input_: LanguageModelInput, *, stop: list[str] | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        kwargs.pop("cancelled", None)
        if (longest := kwargs.pop("max_new_tokens", None)) is not None:
            kwargs["max_tokens"] = longest
        extra = {name: kwargs.pop(name) for name in ("top_k", "repetition_penalty") if name in kwargs}
        payload: dict[str, Any] = super()._get_request_payload(input_, stop=stop, **kwargs)
        if not _is_openai(str(self.openai_api_base)):
            payload["extra_body"] = {**(payload.get("extra_body") or {}), **extra}
            if "max_completion_tokens" in payload:  # the older name is the one that every server knows
                payload["max_tokens"] = payload.pop("max_completion_tokens")
        return payload

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._our_errors(_Progress()):
            return super()._generate(messages, stop, run_manager, **kwargs)

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        with self._our_errors(_Progress()):
            return await super()._agenerate(messages, stop, run_manager, **kwargs)

    def _stream(self, *args: Any, **kwargs: Any) -> Iterator[ChatGenerationChunk]:
        progress, cancelled = _Progress(), kwargs.get("cancelled")
        with self._our_errors(progress):
            for chunk in super()._stream(*args, **kwargs):
                progress.saw(chunk)
                _raise_if(cancelled)
                yield chunk
        self._check_complete(progress)

    async def _astream(self, *args: Any, **kwargs: Any) -> AsyncIterator[ChatGenerationChunk]:
        progress, cancelled = _Progress(), kwargs.get("cancelled")
        with self._our_errors(progress):
            async for chunk in super()._astream(*args, **kwargs):
                progress.saw(chunk)
                _raise_if(cancelled)
                yield chunk
        self._check_complete(progress)

    def _check_complete(self, progress: "_Progress") -> None:
        if not progress.finished:
            raise self._interrupted()

    def _interrupted(self) -> RemoteInterruptedError:
        return RemoteInterruptedError(f"The answer of the server at {self._where} broke off: send the message again.")

    @property
    def _where(self) -> str:
        parts = urlsplit(str(self.openai_api_base))
        return f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}{parts.path}"

    @contextmanager
    def _our_errors(self, progress: "_Progress") -> Iterator[None]:
        """Turn the client's exceptions into ours, keeping the cause."""
        try:
            yield
        except (openai.APITimeoutError, TimeoutError) as error:
            msg = f"The server at {self._where} was silent for {self.request_timeout:g} s: see whether it is busy, or "
            msg += "raise model.timeout_s."
            raise RemoteTimeoutError(msg) from error
        except openai.APIConnectionError as error:
            if progress.started:
                raise self._interrupted() from error
            msg = f"Nothing answers at {self._where}: start the server, or mend model.base_url."
            raise RemoteUnavailableError(msg) from error
        except openai.APIStatusError as error:
            raise self._refusal(error) from error
        except openai.APIError as error:
            msg = f"The server at {self._where} failed: {_first_line(error.message)}"
            raise RemoteRequestError(msg) from error
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            msg = f"What answers at {self._where} does not speak OpenAI's API: mend model.base_url (it ends in /v1)."
            raise RemoteRequestError(msg) from error

    def _refusal(self, error: openai.APIStatusError) -> RemoteModelError:
        status = error.status_code
        if status in (401, 403):
            return RemoteAccessError(f"The server at {self._where} refuses the key ({status}): set model.api_key.")
        if status == 404:
            return RemoteUnknownModelError(
                f"The server at {self._where} has no model '{self.model_name}' (404): "
                f"mend model.name, or model.base_url (it ends in /v1)."
            )
        if status == 429:
            return RemoteRequestError(f"The server at {self._where} takes no more requests now (429): try again later.")
        what = "refused the request" if status < 500 else "failed"
        return RemoteRequestError(f"The server at {self._where} {what} ({status}): {_first_line(error.message)}")


class _Progress:
    """How far an answer has come."""

    def __init__(self) -> None:
        self.started = False
        self.finished = False

    def saw(self, chunk: ChatGenerationChunk) -> None:
        self.started = True
        self.finished = self.finished or bool((chunk.generation_info or {}).get("finish_reason"))


def _is_openai(base_url: str) -> bool:
    return (urlsplit(base_url).hostname or "").endswith("openai.com")


def _first_line(text: str) -> str:
    return next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")


def _raise_if(cancelled: Any) -> None:
    if cancelled is not None and cancelled.is_set():
        msg = "The reply was cancelled."
        raise GenerationCancelledError(msg)
