"""`say`: text to a sound file, or to the loudspeaker."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName, command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.errors import OutputFileError

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio
    from elysia_chat.voice.speaker import Speaker, SpokenSentence


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "say")(say)


def say(
    run: Run,
    text: Annotated[str, typer.Argument(help="What to say, in any language that there is a voice for; - reads it "
                                        "from stdin.", show_default=False)],
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="A .wav, .mp3 or .ogg file; without one it is played."),
    ] = None,
    voice: Annotated[
        str | None, typer.Option("--voice", metavar="NAME", help="For the languages that it has.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", metavar="NAME", help="One of a voice's speakers.")
    ] = None,
    speed: Annotated[float | None, typer.Option("--speed", min=0.5, max=2.0, help="2 is twice as fast.")] = None,
    persona: PersonaName = None,
) -> dict[str, Any]:  # fmt: skip
    """Say a text as a persona would, into a file or aloud."""
    from elysia_chat.voice.audio import audio_format

    kind = None if output is None else audio_format(output.suffix)
    run.override(voice__name=voice, voice__speaker=speaker, voice__speed=speed)
    spoken_by = run.services.speaker(persona)
    said = sys.stdin.read() if text == "-" else text
    audio, timings, problems = _speak(run, said, spoken_by)
    if output is not None and kind is not None:
        _write(output, audio, kind)
    else:
        _play(audio)
    data = {
        "file": None if output is None else str(output),
        "format": kind,
        **timings,
        "audio_s": round(audio.seconds, 3),
        "sample_rate": audio.sample_rate,
        "problems": problems,
    }
    if output is not None:
        first, total = data["first_audio_s"], data["total_s"]
        run.out.print(f"{output}: {audio.seconds:.1f} s of speech, the first after {first} s, all after {total} s")
    return data


def _speak(run: Run, text: str, speaker: "Speaker") -> "tuple[Audio, dict[str, float], list[str]]":
    """Return the sound, the seconds until the first sentence and until the end, and what could not be said.

    Raises:
        UnspeakableError: there is nothing to say.
        ElysiaChatError: nothing could be said; the message says why.
    """
    from elysia_chat.voice.audio import concatenate
    from elysia_chat.voice.errors import UnspeakableError

    began = time.perf_counter()
    sounds: list[Audio] = []
    problems: list[str] = []
    timings = {"first_audio_s": 0.0}
    first_problem = None
    with run.waiting("speaking"):
        for spoken in _sentences(run, text, speaker):
            if spoken.audio is not None:
                sounds.append(spoken.audio)
                timings["first_audio_s"] = timings["first_audio_s"] or round(time.perf_counter() - began, 3)
            if spoken.problem is not None:
                first_problem = first_problem or spoken.problem
                problems.append(str(spoken.problem))
                run.note(str(spoken.problem))
    if not sounds:
        if first_problem is not None:
            raise first_problem
        msg = "There is nothing to say in this text."
        raise UnspeakableError(msg)
    timings["total_s"] = round(time.perf_counter() - began, 3)
    return concatenate(sounds), timings, problems


def _sentences(run: Run, text: str, speaker: "Speaker") -> "Iterator[SpokenSentence]":
    from elysia_chat.chains.sentences import SentenceSplitter

    splitter = SentenceSplitter()
    stream = run.services.speech.stream(speaker)
    for sentence in (*splitter.feed(text), *splitter.close()):
        stream.feed(sentence)
    stream.finish()
    try:
        yield from stream
    finally:
        stream.cancel()


def _write(path: Path, audio: "Audio", kind: Any) -> None:
    from elysia_chat.voice.audio import encode

    try:
        path.write_bytes(encode(audio, kind))
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror or error}."
        raise OutputFileError(msg) from error


def _play(audio: "Audio") -> None:
    from elysia_chat.ui.cli.player import Player

    player = Player(audio.sample_rate)
    try:
        player.play(audio)
        player.finish()
    finally:
        player.stop()
