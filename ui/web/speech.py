"""The voice of a session: replies whose sentences the page fetches, one by one, as they are spoken.

The page knows its session's voice by a long random token, which no other page is told. Nothing is computed before the
page asks for a reply's first sound, so a muted page costs nothing.
"""

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from elysia_chat.configs.errors import ElysiaChatError

if TYPE_CHECKING:
    from elysia_chat.ui.web.sessions import Sessions
    from elysia_chat.voice.speaker import SpokenSentence
    from elysia_chat.voice.stream import SpeechStream

PATH = "/speech"
# The page asks again after this long, so that no proxy takes a long wait for a dead connection.
_LONGEST_WAIT_SECONDS = 15.0
_POLL_SECONDS = 0.02
_NOTHING_YET, _NO_MORE = 202, 204
_PROBLEM = "Speech-Problem"


class SpokenReply:
    """One reply, spoken on demand.

    Sentences go in while the reply is written; `sound` gives what has been spoken. Safe from any thread.

    Args:
        open_stream: called when the first sound is asked for; its errors become the reply's problem.
    """

    def __init__(self, open_stream: "Callable[[], SpeechStream]") -> None:
        self.id = secrets.token_urlsafe(9)
        self._open_stream = open_stream
        self._stream: SpeechStream | None = None
        self._sentences: list[str] = []
        self._spoken: list[SpokenSentence] = []
        self._problem = ""
        self._written = False
        self._cancelled = False
        self._lock = threading.Lock()

    def feed(self, sentence: str) -> None:
        """Add the next sentence."""
        with self._lock:
            self._sentences.append(sentence)
            if self._stream is not None:
                self._stream.feed(sentence)

    def finish(self) -> None:
        """Say that the reply is written."""
        with self._lock:
            self._written = True
            if self._stream is not None:
                self._stream.finish()

    def cancel(self) -> None:
        """End the speech at once."""
        with self._lock:
            self._cancelled = True
            if self._stream is not None:
                self._stream.cancel()

    def sound(self, number: int) -> "tuple[bool, SpokenSentence | None]":
        """Return whether it is known yet what a sentence, by its number from 0, sounds like; and the sentence.

        None is known where the reply has ended before it. Sentences that hold nothing to say are left out, unless
        they tell a problem.
        """
        with self._lock:
            stream = self._begun()
            if stream is None or self._cancelled:
                return True, None
            try:
                self._spoken += [item for item in stream.ready() if item.audio is not None or item.problem is not None]
            except ElysiaChatError as error:
                self._problem = str(error)
            if number < len(self._spoken):
                return True, self._spoken[number]
            return bool(self._problem) or stream.done, None

    @property
    def problem(self) -> str:
        """Why nothing can be spoken, in one line."""
        return self._problem

    def _begun(self) -> "SpeechStream | None":
        """Return the stream; the first call opens it."""
        if self._stream is None and not self._problem and not self._cancelled:
            try:
                self._stream = self._open_stream()
            except ElysiaChatError as error:
                self._problem = str(error)
                return None
            for sentence in self._sentences:
                self._stream.feed(sentence)
            if self._written:
                self._stream.finish()
        return self._stream


class SessionVoice:
    """What a session has chosen, and the reply that is spoken to it.

    Attributes:
        token: names the session's voice in addresses.
        names: chosen voices by language, for each persona.
        speed: 2 is twice as fast.
    """

    def __init__(self, speed: float) -> None:
        self.token = secrets.token_urlsafe(24)
        self.names: dict[str, dict[str, str]] = {}
        self.speed = speed
        self._reply: SpokenReply | None = None

    @property
    def reply(self) -> SpokenReply | None:
        """The reply that is spoken, or was last."""
        return self._reply

    def choose(self, persona: str, language: str, name: str) -> None:
        """Remember a voice for a persona's replies in a language; "" goes back to the persona's own."""
        names = self.names.setdefault(persona, {})
        names.pop(language, None)
        if name:
            names[language] = name

    def begin(self, reply: SpokenReply) -> None:
        """Speak a reply; the one before falls silent."""
        self.stop()
        self._reply = reply

    def stop(self) -> None:
        """Fall silent."""
        if self._reply is not None:
            self._reply.cancel()


def speech_routes(sessions: "Sessions", replay: Callable[[str, int, int], SpokenReply | None]) -> list[Route]:
    """Return the addresses from which pages get their sounds.

    Args:
        sessions: all of them.
        replay: begins to speak an answer of a session's chat again, by token, number of the exchange and of the
            answer; None where there is no such answer.
    """

    async def sound(request: Request) -> Response:
        session = sessions.by_voice(request.path_params["token"])
        reply = session.voice.reply if session is not None else None
        if reply is None or reply.id != request.path_params["reply"]:
            return Response(status_code=_NO_MORE)
        return await _wait_for_sound(reply, int(request.path_params["number"]))

    def again(request: Request) -> Response:
        numbers = int(request.path_params["exchange"]), int(request.path_params["answer"])
        reply = replay(request.path_params["token"], *numbers)
        return JSONResponse({"reply": reply.id if reply else None})

    def stop(request: Request) -> Response:
        session = sessions.by_voice(request.path_params["token"])
        if session is not None:
            session.voice.stop()
        return Response(status_code=_NO_MORE)

    return [
        Route(PATH + "/{token}/{reply}/{number:int}", sound),
        Route(PATH + "/{token}/again/{exchange:int}/{answer:int}", again, methods=["POST"]),
        Route(PATH + "/{token}/stop", stop, methods=["POST"]),
    ]


async def _wait_for_sound(reply: SpokenReply, number: int) -> Response:
    """Answer with a sentence's sound as soon as it is there."""
    waited_until = time.monotonic() + _LONGEST_WAIT_SECONDS
    known, spoken = await asyncio.to_thread(reply.sound, number)
    while not known:
        if time.monotonic() > waited_until:
            return Response(status_code=_NOTHING_YET)
        await asyncio.sleep(_POLL_SECONDS)
        known, spoken = reply.sound(number)
    headers = {"Cache-Control": "no-store"}
    if spoken is None:
        if number == 0 and reply.problem:
            headers[_PROBLEM] = quote(reply.problem)
        return Response(status_code=_NO_MORE, headers=headers)
    if spoken.problem is not None:
        headers[_PROBLEM] = quote(str(spoken.problem))
    if spoken.audio is None:
        return Response(status_code=200, headers=headers)
    from elysia_chat.voice.audio import encode

    return Response(await asyncio.to_thread(encode, spoken.audio, "wav"), headers=headers, media_type="audio/wav")
