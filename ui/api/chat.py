"""`/v1/chat/completions`: a conversation with a persona."""

import asyncio
import dataclasses
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing
from typing import Any

from fastapi import APIRouter
from fastapi.sse import format_sse_event
from starlette.responses import Response

from elysia_chat.chains.events import Event, Finished, Token
from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.api.chat_request import ChatRequest
from elysia_chat.ui.api.chat_response import ChatCompletion, Reply
from elysia_chat.ui.api.errors import InvalidRequestError, RequestRefusedError
from elysia_chat.ui.api.history import Asked, instructed, read_messages
from elysia_chat.ui.api.parts import Parts, SharedParts
from elysia_chat.ui.api.personas import find_persona
from elysia_chat.ui.api.problems import ProblemBody, problem
from elysia_chat.ui.api.streamed import Streamed
from elysia_chat.ui.api.work import Job

_EVENTS = "text/event-stream"

router = APIRouter(prefix="/v1/chat", tags=["chat"])


@router.post(
    "/completions",
    response_model=ChatCompletion,
    responses={
        200: {
            "description": "The answer; with `stream` its pieces as server-sent events, `[DONE]` the last.",
            "content": {_EVENTS: {"schema": {"type": "string"}}},
        }
    },
)
async def complete(body: ChatRequest, parts: SharedParts) -> Any:
    """Answer the last message, from the persona's lore and in her voice."""
    job = _job(parts, body)
    reply = Reply(body.model)
    if body.stream:
        with_usage = body.stream_options is not None and body.stream_options.include_usage
        return Streamed(_stream(parts, job, reply, with_usage=with_usage), _EVENTS, {"Cache-Control": "no-cache"})
    async with aclosing(_events(parts, job)) as events:
        finished = [event async for event in events if isinstance(event, Finished)]
    return Response(reply.whole(finished[0]).model_dump_json(), media_type="application/json")


async def _stream(parts: Parts, job: Job[Event], reply: Reply, *, with_usage: bool) -> AsyncGenerator[bytes, None]:
    """Yield an answer as server-sent events, from its first token on."""
    begun = False
    try:
        async with aclosing(_events(parts, job)) as events:
            async for event in events:
                if not isinstance(event, Token | Finished):
                    continue
                if not begun:
                    begun = True
                    yield _sent(reply.begin())
                if isinstance(event, Token):
                    yield _sent(reply.token(event.text))
                    continue
                yield _sent(reply.end(event))
                if with_usage:
                    yield _sent(reply.usage(event))
    except ElysiaChatError as error:
        if not begun:
            raise
        # The status has been sent: clients look for an error in the stream.
        yield _sent(ProblemBody(error=problem(error)[1]).model_dump_json())
        return
    yield _sent("[DONE]")


async def _events(parts: Parts, job: Job[Event]) -> AsyncGenerator[Event, None]:
    """Yield what happens while a message is answered, and count it."""
    metrics, began, outcome = parts.metrics, time.perf_counter(), "failed"
    first = True
    try:
        async with parts.answers.items(job) as events:
            async for event in events:
                if isinstance(event, Token) and first:
                    first = False
                    metrics.first_token_seconds.observe(time.perf_counter() - began)
                if isinstance(event, Finished):
                    outcome = "length" if event.truncated else "stop"
                    metrics.tokens.labels("prompt").inc(event.usage.input_tokens)
                    metrics.tokens.labels("answer").inc(event.usage.output_tokens)
                yield event
    except RequestRefusedError:
        outcome = "refused"
        raise
    except (GeneratorExit, asyncio.CancelledError):
        outcome = "left" if outcome == "failed" else outcome
        raise
    finally:
        metrics.answers.labels(outcome).inc()


def _job(parts: Parts, body: ChatRequest) -> Job[Event]:
    """Return the work that answers a request.

    Raises:
        RequestRefusedError: the request cannot be answered.
    """
    persona, lore = find_persona(parts.services, body.model)
    asked = read_messages(body.messages)
    asked = dataclasses.replace(asked, instructions=_allowed(parts, asked.instructions))
    job: Job[Event]

    def run() -> Generator[Event, None, None]:
        return _answer(parts, body, asked, persona, lore=lore, cancelled=job.cancelled)

    job = Job(run)
    return job


def _allowed(parts: Parts, instructions: str) -> str:
    """Return what of a client's system messages reaches the persona."""
    mode = parts.services.settings.api.system_messages
    if instructions and mode == "refuse":
        msg = "System messages are not taken here (api.system_messages): the persona has her own."
        raise InvalidRequestError(msg, param="messages", code="system_message")
    return instructions if mode == "append" else ""


def _answer(
    parts: Parts, body: ChatRequest, asked: Asked, persona: str, *, lore: bool, cancelled: Any
) -> Generator[Event, None, None]:
    """Answer a request, in a thread; nothing of it stays."""
    services = parts.services
    searches = lore and services.settings.chat.rag
    if searches:
        parts.lore.ensure(persona)
    length = _length(parts, body)
    conversation = services.conversation(persona, rag=searches, sampling=length)
    conversation.turns[:] = asked.turns
    if asked.instructions:
        chain = conversation.chain
        voices = {code: instructed(voice, code, asked.instructions) for code, voice in chain.voices.items()}
        conversation.chain = dataclasses.replace(chain, voices=voices)
    sampling = {**length, **body.sampling(), "cancelled": cancelled}
    if body.stops:
        sampling["stop"] = [*services.settings.generation.stop, *body.stops]
    yield from conversation.stream(asked.question, sampling)


def _length(parts: Parts, body: ChatRequest) -> dict[str, int]:
    """Return how long the answer may be, where the client says so: within the limit, and half of the context."""
    if body.longest is None:
        return {}
    settings = parts.services.settings
    context = settings.model.context_tokens or getattr(parts.services.model, "context_tokens", None)
    return {"max_new_tokens": min(body.longest, settings.api.max_tokens, context // 2 if context else body.longest)}


def _sent(data: str) -> bytes:
    return format_sse_event(data_str=data)
