"""`web`: the page."""

from typing import Annotated

import typer

from elysia_chat.ui.cli.options import PersonaName, command
from elysia_chat.ui.cli.preparation import convert_weights, report_failures, update_index
from elysia_chat.ui.cli.run import Run


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "web")(web)


def web(
    run: Run,
    persona: PersonaName = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; wider than loopback needs user and password.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = None,
    open_browser: Annotated[bool | None, typer.Option("--open/--no-open", help="Open the page in a browser.")] = None,
) -> None:
    """Open the page: prepares weights and index where that has not been done, then serves until Ctrl-C."""
    from elysia_chat.ui.web.launch import free_port, launch

    run.override(persona=persona, server__host=host, server__port=port, server__open_browser=open_browser)
    run.services.persona()
    # A port that is taken is better known now than after the minutes that a first start takes.
    free_port(run.settings.server)
    convert_weights(run)
    if run.services.changed_documents():
        report_failures(run, update_index(run, None))

    def ready(url: str) -> None:
        run.out.print(f"Open {url} (Ctrl-C stops)", soft_wrap=True)
        if run.json:
            run.write({"url": url, "persona": run.settings.persona})

    launch(run.services, ready=ready)
