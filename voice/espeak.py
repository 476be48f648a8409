"""Phonemes by the program espeak-ng, which runs beside this one (it is GPL-licensed, and called, not linked)."""

import re
import shutil
import subprocess
import unicodedata

from elysia_chat.voice.errors import MissingProgramError, SynthesisError

_SECONDS = 30
_CLAUSES = re.compile(r"([,.;:!?…]+)\s*")
_LANGUAGE_SWITCH = re.compile(r"\([^()]*\)")
# espeak-ng 1.51 reads Chinese characters under "cmn" as English letter names, under this name right.
_RENAMED = {"cmn": "cmn-latn-pinyin", "zh": "cmn-latn-pinyin"}
_FULL_WIDTH = str.maketrans("，。！？；：、", ",.!?;:,")


def espeak_program() -> str:
    """Return the path of espeak-ng.

    Raises:
        MissingProgramError: it is not installed; the message says which package brings it.
    """
    program = shutil.which("espeak-ng")
    if program is None:
        msg = (
            "This voice needs the program espeak-ng, which is not installed: apt install espeak-ng (Debian, Ubuntu), "
            "dnf install espeak-ng (Fedora), brew install espeak-ng (macOS)."
        )
        raise MissingProgramError(msg)
    return program


def espeak_phonemes(text: str, voice: str) -> str:
    """Return a sentence in the International Phonetic Alphabet, with its punctuation.

    Args:
        text: words and punctuation.
        voice: of espeak-ng, such as "en-us" or "cmn".

    Returns:
        Phonemes with stress marks, decomposed (NFD); words parted by spaces, marks of punctuation where they were.

    Raises:
        MissingProgramError: espeak-ng is not installed.
        SynthesisError: espeak-ng does not have the voice, or failed.
    """
    program = espeak_program()
    spoken: list[str] = []
    for number, part in enumerate(_CLAUSES.split(text.translate(_FULL_WIDTH))):
        if number % 2:
            spoken.append(_mark(part))
        elif part.strip():
            spoken.append((" " if spoken else "") + _clause(program, part.strip(), voice))
    return unicodedata.normalize("NFD", "".join(spoken))


def _mark(marks: str) -> str:
    return "." if marks[0] == "…" or marks.startswith("..") else marks[0]


def _clause(program: str, text: str, voice: str) -> str:
    command = [program, "-q", "-b", "1", "--ipa=1", "-v", _RENAMED.get(voice, voice), "--stdin"]
    try:
        done = subprocess.run(  # noqa: S603 - a fixed program, its text on stdin
            command, input=text, capture_output=True, encoding="utf-8", timeout=_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeError) as error:
        told = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        msg = f"espeak-ng could not read the text as '{voice}': {told[0] if told else 'no reason given'}"
        raise SynthesisError(msg) from error
    lines = (line.strip() for line in done.stdout.splitlines())
    return _LANGUAGE_SWITCH.sub("", " ".join(line for line in lines if line)).replace("_", "")
