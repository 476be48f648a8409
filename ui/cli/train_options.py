"""Options that several commands of `train` take, and the errors of their values."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, NoReturn

import typer

OutFolder = Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write to.", show_default=False)]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")]


def refuse(message: str) -> NoReturn:
    """Say that the command line cannot be understood (exit code 2).

    Raises:
        BadParameter: always.
    """
    raise typer.BadParameter(message)


def pairs(given: Sequence[str] | None, option: str, example: str) -> dict[str, str]:
    """Read `key=value` of each word.

    Raises:
        BadParameter: one is not of this form.
    """
    found = {}
    for text in given or ():
        key, mark, value = text.partition("=")
        if not mark or not key.strip() or not value.strip():
            refuse(f"Write {option} {example}; got '{text}'.")
        found[key.strip()] = value.strip()
    return found
