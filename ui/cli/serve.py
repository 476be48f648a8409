"""`serve`: the HTTP API, and the page with it."""

from typing import Annotated

import typer

from elysia_chat.ui.cli.options import PersonaName, command
from elysia_chat.ui.cli.preparation import convert_weights, report_failures, update_index
from elysia_chat.ui.cli.run import Run


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "serve")(serve)


def serve(
    run: Run,
    persona: PersonaName = None,
    host: Annotated[
        str | None, typer.Option("--host", help="Where to listen; wider than loopback needs tokens.")
    ] = None,
    port: Annotated[int | None, typer.Option("--port", min=0, max=65535, help="0 takes a free one.")] = None,
    page: Annotated[bool, typer.Option("--page/--no-page", help="Serve the page as well, or the API alone.")] = True,
) -> None:
    """Serve OpenAI's API at /v1 and the page at /: prepares as `web` does, then serves until Ctrl-C."""
    from elysia_chat.ui.api.launch import address_of, launch
    from elysia_chat.ui.web.launch import free_port

    run.override(persona=persona, api__host=host, api__port=port)
    run.services.persona()
    # What is wrong with the address is better known now than after the minutes that a first start takes.
    free_port(address_of(run.settings, page=page))
    convert_weights(run)
    if run.services.changed_documents():
        report_failures(run, update_index(run, None))

    def ready(url: str) -> None:
        also = f", the page at {url}" if page else ""
        run.out.print(f"The API is at {url}v1{also} (Ctrl-C stops)", soft_wrap=True)
        if run.json:
            run.write({"url": url, "api": f"{url}v1", "page": page, "persona": run.settings.persona})

    launch(run.services, page=page, ready=ready)
