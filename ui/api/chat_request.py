"""What a client of `/v1/chat/completions` may send, and what becomes of each field.

Fields that only colour an answer and have no counterpart here are ignored, since many clients send them always:
`frequency_penalty`, `presence_penalty`, `logit_bias`, `user`, `tools`, and all that are unknown. Fields that change
what an answer is (`n`, `logprobs`, `response_format`, a `tool_choice` that demands a call) are refused.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

_SEEDS = 2**32
_MOST_STOPS, _LONGEST_STOP = 16, 200

StopString = Annotated[str, Field(min_length=1, max_length=_LONGEST_STOP)]


class _Tolerant(BaseModel):
    model_config = ConfigDict(extra="ignore")


class ContentPart(_Tolerant):
    """A part of a message; only text is understood."""

    type: str
    text: str | None = None


class ChatMessage(_Tolerant):
    """One message of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[ContentPart] | None = None

    @property
    def text(self) -> str:
        """The message's text, its parts in lines of their own.

        Raises:
            ValueError: a part is no text.
        """
        if not isinstance(self.content, list):
            return self.content or ""
        return "\n".join(part.text or "" for part in self.content)

    @field_validator("content")
    @classmethod
    def _only_text(cls, content: str | list[ContentPart] | None) -> str | list[ContentPart] | None:
        for part in content if isinstance(content, list) else ():
            if part.type != "text":
                msg = f"messages: only text is understood here, no '{part.type}'."
                raise ValueError(msg)
        return content


class StreamOptions(_Tolerant):
    """How a stream is sent."""

    include_usage: bool = False


class ChatRequest(_Tolerant):
    """A request for an answer."""

    model: str = Field(description="a persona, or PERSONA@norag to answer without her lore; see /v1/models")
    messages: list[ChatMessage] = Field(min_length=1, description="the conversation so far, the question last")
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    max_tokens: int | None = Field(None, ge=1, description="at most; the settings' api.max_tokens is a limit as well")
    max_completion_tokens: int | None = Field(None, ge=1, description="the newer name of max_tokens")
    temperature: float | None = Field(None, ge=0, le=5)
    top_p: float | None = Field(None, gt=0, le=1)
    top_k: int | None = Field(None, ge=0, description="extension: sample from so many likeliest tokens; 0 is off")
    repetition_penalty: float | None = Field(None, ge=0.5, le=3, description="extension")
    seed: int | None = None
    stop: StopString | Annotated[list[StopString], Field(max_length=_MOST_STOPS)] | None = None
    n: int | None = None
    logprobs: bool | None = None
    response_format: dict[str, Any] | None = None
    tool_choice: str | dict[str, Any] | None = None

    @model_validator(mode="after")
    def _can_be_had(self) -> Self:
        form = (self.response_format or {}).get("type", "text")
        refusals = {
            "n: only one answer can be had at once.": self.n not in (None, 1),
            "logprobs: probabilities cannot be had here.": bool(self.logprobs),
            f"response_format: answers are text; '{form}' cannot be had here.": form != "text",
            "tool_choice: personas call no tools.": self.tool_choice not in (None, "none", "auto"),
        }
        for msg, refused in refusals.items():
            if refused:
                raise ValueError(msg)
        return self

    @property
    def stops(self) -> list[str]:
        """Strings that end the answer."""
        return [self.stop] if isinstance(self.stop, str) else list(self.stop or ())

    @property
    def longest(self) -> int | None:
        """How many tokens the answer may have, where the client says so."""
        return self.max_completion_tokens or self.max_tokens

    def sampling(self) -> dict[str, Any]:
        """Return the sampling that the client wants, as keyword arguments for a model."""
        wanted = {
            "temperature": self.temperature,
            "top_p": self.top_p,
            "top_k": self.top_k,
            "repetition_penalty": self.repetition_penalty,
            "seed": None if self.seed is None else self.seed % _SEEDS,
        }
        return {name: value for name, value in wanted.items() if value is not None}
