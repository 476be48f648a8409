"""`voices list`, `voices add` and `voices remove`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from elysia_chat.voice.registry import Voice

_SHOWN_SPEAKERS = 5


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The voices that can speak, and taking over your own.", no_args_is_help=True)
    command(group, "list")(list_voices)
    command(group, "add")(add)
    command(group, "remove")(remove)
    app.add_typer(group, name="voices")


def list_voices(run: Run) -> dict[str, Any]:
    """List all voices, built-in and your own, with what they speak."""
    from rich.table import Table

    from elysia_chat.voice.registry import broken_voices
    from elysia_chat.voice.registry import list_voices as known_voices

    voices, broken = known_voices(), [str(error) for error in broken_voices()]
    table = Table("name", "engine", "languages", "speakers", "yours", "licence", box=None)
    for voice in voices:
        info = voice.info
        row = (info.name, info.kind, " ".join(info.languages), _shortened(info.speakers))
        table.add_row(*map(printable, (*row, "" if voice.built_in else "yes", info.licence)))
    run.out.print(table)
    for error in broken:
        run.note(error)
    run.out.print("Hear one with: elysia-chat say TEXT --voice NAME -o FILE")
    return {"voices": [_described(voice) for voice in voices], "broken": broken}


def add(
    run: Run,
    path: Annotated[
        Path,
        typer.Argument(
            help="A .pth or .onnx file, or the folder with a voice's files: a coqui-tts checkpoint, a G_*.pth of the "
            "original VITS or VITS-fast-fine-tuning, or a Piper voice.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None, typer.Option("--name", "-n", help="What to call it, instead of its folder's name.")
    ] = None,
    speaker: Annotated[
        str | None, typer.Option("--speaker", help="Who speaks where none is asked for, instead of the first one.")
    ] = None,
    language: Annotated[
        list[str] | None, typer.Option("--language", help="What it speaks: zh, en or ja, the best first; repeatable.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the test sentence to this file: .wav, .mp3 or .ogg.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Take the place of a voice of the same name.")] = False,
) -> dict[str, Any]:
    """Take over a voice of your own: convert it once, and let it speak a sentence."""
    from elysia_chat.voice.audio import audio_format, encode
    from elysia_chat.voice.vits_import import add_voice

    kind = audio_format(output.suffix) if output else None
    with run.waiting("Converting the voice"):
        added = add_voice(path, name=name, speaker=speaker, languages=language or (), replace=replace)
    if output and kind:
        _save(output, encode(added.audio, kind))
    info = added.voice.info
    for line in (
        f"The voice '{info.name}' speaks {', '.join(info.languages)} at {info.sample_rate} Hz.",
        f"Speakers: {_shortened(info.speakers)} (speaking: {info.speaker})." if info.speakers else "One speaker.",
        f"It said “{added.text}” in {added.audio.seconds:.1f} s" + (f", written to {output}." if output else "."),
        f"Use it with: --set voice.name={info.name}",
    ):
        run.out.print(printable(line), soft_wrap=True)
    return {
        **_described(added.voice),
        "form": added.form,
        "test": {
            "language": added.language,
            "text": added.text,
            "audio_s": round(added.audio.seconds, 3),
            "file": None if output is None else str(output),
        },
    }


def remove(
    run: Run, name: Annotated[str, typer.Argument(help="A voice of your own.", show_default=False)]
) -> dict[str, Any]:
    """Remove a voice of your own; the files that it was taken over from stay."""
    from elysia_chat.voice.vits_import import remove_voice

    folder = remove_voice(name)
    run.out.print(printable(f"Removed {folder}."), soft_wrap=True)
    return {"removed": name, "folder": str(folder)}


def _save(path: Path, content: bytes) -> None:
    from elysia_chat.ui.errors import OutputFileError

    try:
        path.write_bytes(content)
    except OSError as error:
        msg = f"Cannot write {path}: {error.strerror}. The voice was added; give another file to elysia-chat say."
        raise OutputFileError(msg) from error


def _shortened(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - _SHOWN_SPEAKERS} more" if len(names) > _SHOWN_SPEAKERS else ""
    return ", ".join(names[:_SHOWN_SPEAKERS]) + more


def _described(voice: "Voice") -> dict[str, Any]:
    info = voice.info
    return {
        "name": info.name,
        "engine": info.kind,
        "languages": list(info.languages),
        "speakers": list(info.speakers),
        "speaker": info.speaker,
        "sample_rate": info.sample_rate,
        "cleaner": info.cleaner,
        "licence": info.licence,
        "built_in": voice.built_in,
        "folder": None if voice.folder is None else str(voice.folder),
    }
