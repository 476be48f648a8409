"""Checking recordings, and writing those that are good in the form that training reads."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elysia_chat.training.voice.errors import RecordingsError
from elysia_chat.training.voice.recordings import Recording

if TYPE_CHECKING:
    from elysia_chat.voice.audio import Audio

REPORT, SAMPLES = "report.json", "samples.json"
SHORTEST_S, LONGEST_S = 0.5, 15.0
# A twentieth of a thousand samples at the very edge is a clipped word.
CLIPPED_SHARE, CLIPPED_LEVEL = 0.00005, 0.999
_FASTEST, _SLOWEST = 30.0, 1.0


@dataclass(frozen=True)
class Finding:
    """What was found about a recording.

    Attributes:
        file: its name.
        problem: "unreadable", "too short", "too long", "clipped", "empty text", "unknown text", "low rate",
            "too fast" or "too slow".
        detail: with the numbers.
        left_out: whether it is not trained on.
    """

    file: str
    problem: str
    detail: str
    left_out: bool


@dataclass(frozen=True)
class Prepared:
    """Recordings ready to train on.

    Attributes:
        folder: with the sounds, at the voice's rate, silence trimmed.
        samples: name of a sound and the symbols said in it.
        seconds: of all sounds together.
        findings: about recordings that were left out, or are used but not as they should be.
    """

    folder: Path
    samples: tuple[tuple[str, str], ...]
    seconds: float
    findings: tuple[Finding, ...]

    def summary(self) -> dict[str, Any]:
        """Return what is written to the report."""
        problems = Counter(finding.problem for finding in self.findings)
        return {
            "kept": len(self.samples),
            "seconds": round(self.seconds, 2),
            "left_out": sum(finding.left_out for finding in self.findings),
            "problems": dict(problems),
            "findings": [asdict(finding) for finding in self.findings],
        }


def prepare(
    recordings: Sequence[Recording],
    folder: Path,
    sample_rate: int,
    read: Callable[[str], str],
    transcribe: Callable[[Path], str] | None = None,
) -> Prepared:
    """Check recordings and write the good ones, mono, at one rate and without silence at the edges.

    Args:
        recordings: what there is.
        folder: to write sounds, `samples.json` and `report.json` into.
        sample_rate: of the voice, in Hz.
        read: text to the symbols that the voice knows; "" where it knows nothing of it.
        transcribe: writes down what is said in a recording without text.

    Raises:
        RecordingsError: not one recording can be used; the message counts why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    samples: list[tuple[str, str]] = []
    findings: list[Finding] = []
    seconds = 0.0
    for number, recording in enumerate(recordings):
        sound, text, found = _checked(recording, sample_rate, read, transcribe)
        findings += found
        if sound is None or any(finding.left_out for finding in found):
            continue
        name = f"{number:05d}.wav"
        _write(sound, folder / name)
        samples.append((name, text))
        seconds += sound.seconds
    prepared = Prepared(folder, tuple(samples), seconds, tuple(findings))
    _dump(folder / REPORT, prepared.summary())
    _dump(folder / SAMPLES, prepared.samples)
    if not samples:
        why = ", ".join(f"{problem}: {count}" for problem, count in prepared.summary()["problems"].items())
        msg = f"Not one of {len(recordings)} recordings can be used ({why}); {folder / REPORT} has the details."
        raise RecordingsError(msg)
    return prepared


def _checked(
    recording: Recording,
    sample_rate: int,
    read: Callable[[str], str],
    transcribe: Callable[[Path], str] | None,
) -> tuple["Audio | None", str, list[Finding]]:
    from elysia_chat.voice.audio import resample, trim_silence

    file = recording.path.name
    try:
        raw = _load(recording.path)
    except (OSError, RuntimeError, ValueError) as error:
        return None, "", [Finding(file, "unreadable", str(error), True)]
    text = recording.text or (transcribe(recording.path) if transcribe else "")
    symbols = read(text) if text.strip() else ""
    findings = [Finding(file, *told) for told in _problems(raw, trim_silence(raw).seconds, sample_rate, text, symbols)]
    return trim_silence(resample(raw, sample_rate)), symbols, findings


def _problems(raw: "Audio", spoken: float, rate: int, text: str, symbols: str) -> Iterable[tuple[str, str, bool]]:
    """Tell of a recording: the problem, its numbers, and whether it is left out for it."""
    import numpy as np

    clipped = float(np.mean(np.abs(raw.samples) >= CLIPPED_LEVEL)) if len(raw.samples) else 0.0
    if spoken < SHORTEST_S:
        yield "too short", f"{spoken:.2f} s of sound; at least {SHORTEST_S} s", True
    if spoken > LONGEST_S:
        yield "too long", f"{spoken:.1f} s; at most {LONGEST_S:.0f} s: cut it between sentences", True
    if clipped > CLIPPED_SHARE:
        yield "clipped", f"{clipped:.3%} of the samples are at the limit", True
    if raw.sample_rate < rate:
        yield "low rate", f"{raw.sample_rate} Hz; the voice has {rate} Hz, and will sound muffled", False
    if not text.strip():
        yield "empty text", "nobody has written down what is said", True
    elif not symbols:
        yield "unknown text", f"the voice cannot read: {text[:40]}", True
    elif spoken >= SHORTEST_S and not _SLOWEST <= len(symbols) / spoken <= _FASTEST:
        problem = "too fast" if len(symbols) / spoken > _FASTEST else "too slow"
        yield problem, f"{len(symbols)} symbols in {spoken:.1f} s: is it the right text?", True


def _load(path: Path) -> "Audio":
    import soundfile

    from elysia_chat.voice.audio import Audio

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return Audio(samples.mean(axis=1), rate)


def _write(sound: "Audio", path: Path) -> None:
    from elysia_chat.voice.audio import encode

    path.write_bytes(encode(sound, "wav"))


def _dump(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
