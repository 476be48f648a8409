"""`chat`: a conversation in the terminal."""

from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName, Rag, command
from elysia_chat.ui.cli.run import Run


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "chat")(chat)


def chat(
    run: Run,
    persona: PersonaName = None,
    rag: Rag = None,
    speak: Annotated[bool, typer.Option("--speak", help="Hear the replies while they are written.")] = False,
) -> dict[str, Any]:
    """Talk in the terminal; /help lists the commands. Messages may also be piped in, one per line."""
    from elysia_chat.ui.cli.terminal_chat import TerminalChat

    return TerminalChat(run, persona, rag, speak=speak).go()
