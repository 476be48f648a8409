"""Errors as OpenAI's clients expect them: `{"error": {"message", "type", "param", "code"}}`, for every failure."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from elysia_chat.chains.errors import MessageError
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.kb.errors import IndexUnavailableError, UnknownPersonaError
from elysia_chat.llm.errors import (
    GenerationCancelledError,
    ModelBusyError,
    PromptTooLongError,
    RemoteModelError,
    RemoteTimeoutError,
)
from elysia_chat.ui.api.errors import RequestRefusedError
from elysia_chat.ui.api.metrics import Metrics
from elysia_chat.voice.errors import UnknownVoiceError, UnspeakableError

_log = logging.getLogger(__name__)
_REFUSED, _FAILED = "invalid_request_error", "server_error"


class _Known(NamedTuple):
    error: type[ElysiaChatError]
    status: int
    kind: str
    code: str
    param: str | None = None


# The first that fits counts.
_KNOWN = (
    _Known(MessageError, 400, _REFUSED, "invalid_message", "messages"),
    _Known(PromptTooLongError, 400, _REFUSED, "context_length_exceeded", "messages"),
    _Known(UnknownPersonaError, 404, _REFUSED, "model_not_found", "model"),
    _Known(UnknownVoiceError, 400, _REFUSED, "voice_not_found", "voice"),
    _Known(UnspeakableError, 400, _REFUSED, "nothing_to_say", "input"),
    _Known(ModelBusyError, 503, _FAILED, "model_busy"),
    _Known(GenerationCancelledError, 503, _FAILED, "stopped"),
    _Known(RemoteTimeoutError, 504, _FAILED, "model_timeout"),
    _Known(RemoteModelError, 502, _FAILED, "model_unavailable"),
    _Known(IndexUnavailableError, 503, _FAILED, "index_unavailable"),
    _Known(ElysiaChatError, 500, _FAILED, "internal_error"),
)
_UNFORESEEN = "Something went wrong here; the server's log has the reason."


class Problem(BaseModel):
    """What went wrong.

    Attributes:
        message: one line for people.
        type: the family of the error.
        param: the field of the request that it is about.
        code: the reason, for programs.
    """

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ProblemBody(BaseModel):
    """The body of every response that is an error."""

    error: Problem


def problem(error: ElysiaChatError) -> tuple[int, Problem]:
    """Return the status and the description of an error."""
    if isinstance(error, RequestRefusedError):
        return error.status, Problem(message=str(error), type=error.kind, param=error.param, code=error.code)
    known = next(known for known in _KNOWN if isinstance(error, known.error))
    return known.status, Problem(message=str(error), type=known.kind, param=known.param, code=known.code)


def problem_response(error: ElysiaChatError) -> JSONResponse:
    """Return the response that tells of an error."""
    status, described = problem(error)
    headers = {}
    retry_after = getattr(error, "retry_after", None)
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return _response(status, described, headers)


def add_handlers(app: FastAPI, metrics: Metrics) -> None:
    """Let every failure of an application end in this format; what is refused is counted."""

    async def on_refused(_request: Request, error: RequestRefusedError) -> JSONResponse:
        metrics.refused.labels(error.code).inc()
        return problem_response(error)

    app.exception_handler(RequestRefusedError)(on_refused)
    app.exception_handler(ElysiaChatError)(_on_known)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(HTTPException)(_on_http)
    app.exception_handler(Exception)(_on_unforeseen)


async def _on_known(_request: Request, error: ElysiaChatError) -> JSONResponse:
    response = problem_response(error)
    if response.status_code >= 500:
        _log.warning("%s", error)
        _log.debug("%s", error, exc_info=error)
    return response


async def _on_invalid(_request: Request, error: RequestValidationError) -> JSONResponse:
    first = error.errors()[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "it cannot be read")
        return _response(400, Problem(message=f"The body is not JSON: {reason}.", type=_REFUSED, code="invalid_json"))
    where = [str(part) for part in first["loc"] if part != "body"]
    param = ".".join(where) or None
    reason = first["msg"].removeprefix("Value error, ")
    if param is None:
        message = f"The body must be a JSON object, sent as application/json: {reason}."
    else:
        message = reason if first["type"] == "value_error" else f"{param}: {reason}."
    return _response(400, Problem(message=message, type=_REFUSED, param=param, code="invalid_value"))


async def _on_http(request: Request, error: HTTPException) -> JSONResponse:
    if error.status_code == 404:
        message, code = f"There is nothing at {request.url.path}; /docs lists what there is.", "not_found"
    elif error.status_code == 405:
        message, code = f"{request.method} is not possible at {request.url.path}; see /docs.", "method_not_allowed"
    else:
        message, code = str(error.detail), "invalid_request"
    return _response(error.status_code, Problem(message=message, type=_REFUSED, code=code), error.headers)


async def _on_unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    # The server drops the connection after what nobody foresaw; a client must not send its next request into it.
    described = Problem(message=_UNFORESEEN, type=_FAILED, code="internal_error")
    return _response(500, described, {"Connection": "close"})


def _response(status: int, described: Problem, headers: Mapping[str, Any] | None = None) -> JSONResponse:
    return JSONResponse(ProblemBody(error=described).model_dump(), status, headers)
