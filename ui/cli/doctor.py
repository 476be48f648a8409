"""`doctor`: what works on this machine, and what to do about the rest."""

from dataclasses import asdict
from typing import Any

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

_STYLES = {"ok": "green", "warning": "yellow", "missing": "red"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "doctor")(doctor)


def doctor(run: Run) -> dict[str, Any]:
    """Check Python, packages, weights, index, disk and devices; the exit code is 1 where the chat cannot run."""
    from rich.table import Table

    from elysia_chat.configs.errors import SettingsError
    from elysia_chat.configs.settings import Settings
    from elysia_chat.ui.cli.checks import Check, check_all

    try:
        checks = [Check("settings", "ok", "valid"), *check_all(run.settings)]
    except SettingsError as error:
        wrong = Check("settings", "missing", str(error), "mend the setting; the rest is checked with the defaults")
        checks = [wrong, *check_all(Settings())]
    table = Table(box=None, show_header=False)
    for check in checks:
        detail = f"{check.detail}\n→ {check.advice}" if check.advice else check.detail
        table.add_row(check.status, check.name, printable(detail), style=_STYLES[check.status])
    run.out.print(table)
    runs = all(check.status != "missing" for check in checks)
    run.out.print("The chat can run." if runs else "The chat cannot run before what is missing is there.")
    run.exit_code = 0 if runs else 1
    return {"ok": runs, "checks": [asdict(check) for check in checks]}
