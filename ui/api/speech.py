"""`/v1/audio/speech`: a text as a persona says it, sent sentence by sentence."""

from collections.abc import AsyncGenerator, Generator
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from elysia_chat.chains.prompt import clean_message
from elysia_chat.chains.sentences import SentenceSplitter
from elysia_chat.ui.api.errors import NotFoundError
from elysia_chat.ui.api.parts import Parts, SharedParts
from elysia_chat.ui.api.personas import find_persona
from elysia_chat.ui.api.sound import SoundFormat, media_type, open_encoder
from elysia_chat.ui.api.streamed import Streamed
from elysia_chat.ui.api.work import Job
from elysia_chat.voice.errors import UnspeakableError
from elysia_chat.voice.registry import list_voices

if TYPE_CHECKING:
    from elysia_chat.voice.stream import SpeechStream

OWN_VOICE = "default"
# What clients fill in by themselves: the configured persona.
_USUAL_MODELS = ("tts-1", "tts-1-hd")

router = APIRouter(prefix="/v1/audio", tags=["audio"])


class SpeechRequest(BaseModel):
    """A text to be spoken."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="a persona, whose voices are meant; tts-1 is the configured one")
    input: str = Field(description="the text, in any language that there is a voice for")
    voice: str = Field(OWN_VOICE, description="a voice by name, or 'default' for the persona's own")
    response_format: SoundFormat = Field("mp3", description="'opus' and 'ogg' are Opus in Ogg; 'pcm' is 16 bit, 24 kHz")
    speed: float | None = Field(None, ge=0.5, le=2.0, description="2 is twice as fast; unset: as in the settings")
    stream_format: Literal["audio"] = "audio"


class ListedVoice(BaseModel):
    """A voice that can be asked for."""

    id: str
    name: str
    languages: list[str]


class Voices(BaseModel):
    """All of them."""

    voices: list[ListedVoice]


@router.get("/voices")
def voices() -> Voices:
    """List the voices, the persona's own first."""
    named = [ListedVoice(id=v.info.name, name=v.info.name, languages=list(v.info.languages)) for v in list_voices()]
    languages = list(dict.fromkeys(language for voice in named for language in voice.languages))
    return Voices(voices=[ListedVoice(id=OWN_VOICE, name="the persona's own", languages=languages), *named])


@router.post(
    "/speech",
    response_class=Response,
    responses={200: {"description": "The sound.", "content": {"audio/*": {"schema": {"type": "string"}}}}},
)
async def speak(body: SpeechRequest, parts: SharedParts) -> Any:
    """Speak a text; the first sentence is sent while the next is computed."""
    settings = parts.services.settings
    if not settings.voice.enabled:
        msg = "Speech is off here (voice.enabled)."
        raise NotFoundError(msg, code="speech_disabled")
    persona = settings.persona if body.model in _USUAL_MODELS else find_persona(parts.services, body.model)[0]
    text = clean_message(body.input, settings.chat.max_message_chars)
    return Streamed(_pieces(parts, _job(parts, body, persona, text)), media_type(body.response_format))


async def _pieces(parts: Parts, job: Job[bytes]) -> AsyncGenerator[bytes, None]:
    async with parts.other.items(job) as pieces:
        async for piece in pieces:
            yield piece


def _job(parts: Parts, body: SpeechRequest, persona: str, text: str) -> Job[bytes]:
    opened: list[SpeechStream] = []
    job: Job[bytes]

    def run() -> Generator[bytes, None, None]:
        stream = _open_stream(parts, body, persona)
        opened.append(stream)
        try:
            if not job.cancelled.is_set():
                yield from _encoded(parts, stream, body.response_format, text)
        finally:
            stream.cancel()

    def cancel() -> None:
        for stream in opened:
            stream.cancel()

    job = Job(run, cancel=cancel)
    return job


def _open_stream(parts: Parts, body: SpeechRequest, persona: str) -> "SpeechStream":
    speech = parts.services.speech
    voice = None if body.voice == OWN_VOICE else body.voice
    speaker = speech.speaker(parts.services.persona(persona).card.voices, voice=voice, speed=body.speed)
    return speech.stream(speaker)


def _encoded(parts: Parts, stream: "SpeechStream", kind: SoundFormat, text: str) -> Generator[bytes, None, None]:
    """Yield the bytes of a text's sentences, at least one sound.

    Raises:
        ElysiaChatError: nothing of it can be said, or there is nothing to say.
    """
    splitter = SentenceSplitter()
    for sentence in (*splitter.feed(text), *splitter.close()):
        stream.feed(sentence)
    stream.finish()
    encoder, problem = None, None
    for spoken in stream:
        problem = problem or spoken.problem
        if spoken.audio is not None:
            encoder = encoder or open_encoder(kind, spoken.audio.sample_rate)
            parts.metrics.spoken_seconds.inc(spoken.audio.seconds)
            yield encoder.add(spoken.audio)
    if encoder is None:
        msg = "There is nothing to say in this text."
        raise problem or UnspeakableError(msg)
    yield encoder.finish()
