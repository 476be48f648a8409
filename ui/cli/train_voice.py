"""`train voice`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder

_SHOWN_FINDINGS = 10


def voice(
    run: Run,
    recordings: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="Recordings: metadata.csv with lines name|text and sounds in wavs/, or sounds alone.",
            show_default=False,
        ),
    ],
    out: OutFolder,
    base: Annotated[str, typer.Option("--base", help="The VITS voice that is trained further.")] = "joe",
    speaker: Annotated[str | None, typer.Option("--speaker", help="Of the base, where it has several.")] = None,
    language: Annotated[str | None, typer.Option("--language", help="Of the recordings: zh, en or ja.")] = None,
    asr: Annotated[
        str | None,
        typer.Option("--asr", metavar="MODEL", help="Whisper model for sounds without text; needs faster-whisper."),
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the recordings.")] = 100,
    max_steps: Annotated[int, typer.Option(min=0, help="Stop after so many steps; 0: no limit.")] = 0,
    minutes: Annotated[float, typer.Option(min=0, help="Stop after so many minutes; 0: no limit.")] = 0.0,
    batch_size: Annotated[int, typer.Option(min=1, help="Recordings a step.")] = 16,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of generator and discriminator.")] = 1e-4,
    save_steps: Annotated[int, typer.Option(min=1, help="Steps between checkpoints.")] = 1000,
    sample_steps: Annotated[int, typer.Option(min=1, help="Steps between spoken samples.")] = 500,
    half: Annotated[bool, typer.Option("--half", help="Mixed precision, on a GPU.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest checkpoint.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Check the recordings and train nothing.")] = False,
    add: Annotated[
        str | None, typer.Option("--add", metavar="NAME", help="Take the voice over under this name at the end.")
    ] = None,
) -> dict[str, Any]:
    """Make a voice: fine-tune a VITS voice on recordings."""
    from elysia_chat.training.voice.commands import VoiceTraining, make_voice

    training = VoiceTraining(epochs, max_steps, minutes, batch_size, learning_rate, save_steps, sample_steps, half=half)
    made = make_voice(
        recordings, out, training, base=base, speaker=speaker, language=language, recogniser=asr, resume=resume,
        check=check, progress=lambda step, losses: _tell(run, step, losses),
    )  # fmt: skip
    _show(run, made.report, out)
    data: dict[str, Any] = {"recordings": made.report, "folder": str(out)}
    if made.run is None:
        return data
    run.out.print(printable(f"{made.run.steps} steps; the voice: {made.run.voice}"), soft_wrap=True)
    data |= {
        "voice": str(made.run.voice),
        "steps": made.run.steps,
        "losses": made.run.losses[-1] if made.run.losses else {},
        "samples": [str(path) for path in made.run.samples],
    }
    if add:
        from elysia_chat.voice.vits_import import add_voice

        name = add_voice(made.run.voice, name=add, replace=True).voice.info.name
        run.out.print(printable(f"Use it with: --set voice.name={name}"), soft_wrap=True)
        return {**data, "added": name}
    run.out.print(printable(f"Next: elysia-chat voices add {made.run.voice} --name NAME"), soft_wrap=True)
    return data


def _tell(run: Run, step: int, losses: Mapping[str, float]) -> None:
    shown = ("loss_mel", "loss_kl", "loss_duration", "loss_gen", "loss_disc")
    told = ", ".join(f"{name.removeprefix('loss_')} {losses[name]:.3f}" for name in shown if name in losses)
    run.note(f"step {step}: {told}")


def _show(run: Run, report: Mapping[str, Any], out: Path) -> None:
    run.out.print(f"{report['kept']} recordings, {report['seconds']:.0f} s; {report['left_out']} left out.")
    for finding in report["findings"][:_SHOWN_FINDINGS]:
        run.out.print(printable(f"  {finding['file']}: {finding['problem']} ({finding['detail']})"), soft_wrap=True)
    if len(report["findings"]) > _SHOWN_FINDINGS:
        run.out.print(printable(f"  … all {len(report['findings'])} in {out / 'data' / 'report.json'}"))
