"""`ask` and `search`: one question, one answer."""

from typing import Annotated, Any

import typer

from elysia_chat.ui.cli.options import PersonaName, Rag, command
from elysia_chat.ui.cli.preparation import prepare
from elysia_chat.ui.cli.replies import play, reply_data, show_sources, sources_data
from elysia_chat.ui.cli.run import Run


def register(app: typer.Typer) -> None:
    """Add the commands."""
    command(app, "ask")(ask)
    command(app, "search")(search)


def ask(
    run: Run,
    question: Annotated[str, typer.Argument(help="What to ask, in Chinese or English.", show_default=False)],
    persona: PersonaName = None,
    rag: Rag = None,
) -> dict[str, Any]:
    """Answer one question, with the passages that the answer stands on."""
    searches = run.settings.chat.rag if rag is None else rag
    name = run.services.persona(persona).name
    prepare(run, name, rag=searches)
    conversation = run.services.conversation(name, rag=searches)
    finished = play(run, conversation.stream(question))
    data = {"question": question, "persona": name, "rag": searches, **reply_data(finished)}
    if data["sources"]:
        run.out.print()
        show_sources(run, data["sources"])
    return data


def search(
    run: Run,
    question: Annotated[str, typer.Argument(help="What to look for.", show_default=False)],
    k: Annotated[int | None, typer.Option("-k", min=1, max=20, help="How many passages.")] = None,
    persona: PersonaName = None,
) -> dict[str, Any]:
    """Find the passages for a question, best first, without an answer."""
    name = run.services.persona(persona).name
    prepare(run, name, rag=True, model=False)
    passages = sources_data(run.services.search(question, k, name, evidence=False))
    show_sources(run, passages, whole=True)
    if not passages:
        run.note("Nothing was found.")
    return {"question": question, "persona": name, "passages": passages}
