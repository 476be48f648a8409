"""`models list`, `models add`, `models info` and `models remove`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from elysia_chat.ui.cli.options import command
from elysia_chat.ui.cli.preparation import progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable

if TYPE_CHECKING:
    from elysia_chat.llm.library.contents import Entry
    from elysia_chat.llm.library.describe import AdapterFacts, Fit, ModelFacts

Name = Annotated[str, typer.Argument(help="Of a model or adapter that is here.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group."""
    group = typer.Typer(help="The language models that can be had here, and new ones.", no_args_is_help=True)
    command(group, "list")(list_models)
    command(group, "add")(add)
    command(group, "info")(info)
    command(group, "remove")(remove)
    app.add_typer(group, name="models")


def list_models(run: Run) -> dict[str, Any]:
    """List the embedded model, the ones that were added, adapters and presets, and what each still needs."""
    from rich.table import Table

    from elysia_chat.llm.build import known_models
    from elysia_chat.llm.library.contents import entries

    table = Table("name", "kind", "state", "size", "preset", box=None)
    rows = []
    for model in known_models():
        setting = f"model_preset={model.name}" if model.preset else _setting(model.kind, model.name)
        size = "" if model.size_bytes is None else f"{model.size_bytes / 1e6:,.0f} MB"
        table.add_row(*map(printable, (model.name, model.kind, model.state, size, "yes" if model.preset else "")))
        rows.append(
            {
                "name": model.name,
                "kind": model.kind,
                "state": model.state,
                "path": None if model.path is None else str(model.path),
                "bytes": model.size_bytes,
                "preset": model.preset,
                "setting": setting,
            }
        )
    adapters = [_described(entry) for entry in entries() if entry.kind == "adapter"]
    for adapter in adapters:
        of = f"for {adapter['base']}" if adapter["base"] else ""
        table.add_row(*map(printable, (adapter["name"], "adapter", of, f"{adapter['bytes'] / 1e6:,.0f} MB", "")))
    run.out.print(table)
    run.out.print("Choose a preset with --set model_preset=NAME, another with --set 'model={kind: KIND, name: NAME}'.")
    chosen = {"kind": run.settings.model.kind, "name": run.settings.model.name}
    return {"models": rows, "adapters": adapters, "chosen": chosen}


def add(
    run: Run,
    source: Annotated[
        str, typer.Argument(metavar="NAME_OR_PATH", help="owner/name on a hub, or a folder.", show_default=False)
    ],
    name: Annotated[
        str | None, typer.Option("--name", help="What to call it here; else as it is called there.")
    ] = None,
    hub: Annotated[
        Literal["hf", "modelscope"], typer.Option("--from", help="Hugging Face (or HF_ENDPOINT), or ModelScope.")
    ] = "hf",
    revision: Annotated[
        str | None, typer.Option("--revision", help="Branch, tag or commit; else the newest.", show_default=False)
    ] = None,
    base: Annotated[
        str | None,
        typer.Option(
            "--base", help="Of an adapter: the model that it belongs to, where it names none.", show_default=False
        ),
    ] = None,
) -> dict[str, Any]:
    """Bring in a model or an adapter: download it or take a folder, and convert InternLM2.

    A download that broke off goes on where it stopped. No code that comes with a model is run.
    """
    from elysia_chat.llm.library.add import add as bring_in

    with progress_bar(run) as show:
        entry = bring_in(source, name=name, hub=hub, revision=revision, base=base, progress=show)
    data = _described(entry)
    run.out.print(
        printable(f"{entry.name}: {entry.kind}, {entry.bytes / 1e6:,.0f} MB, in {entry.folder}"), soft_wrap=True
    )
    run.out.print(printable(f"Use it with --set '{data['setting']}'"), soft_wrap=True)
    return data


def info(run: Run, name: Annotated[str, typer.Argument(help="Of a model or adapter, or a folder.")]) -> dict[str, Any]:
    """Show what a model or adapter is, where it came from, and whether it fits into this machine."""
    from elysia_chat.llm.library.describe import ModelFacts, describe

    facts = describe(name)
    data = _described(facts.entry)
    data |= _model_data(facts) if isinstance(facts, ModelFacts) else _adapter_data(facts)
    for line in _model_lines(data) if isinstance(facts, ModelFacts) else _adapter_lines(data):
        run.out.print(printable(line), soft_wrap=True)
    if isinstance(facts, ModelFacts):
        _print_fits(run, facts.fits)
    return data


def remove(
    run: Run, name: Name, yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")] = False
) -> dict[str, Any]:
    """Delete a model or adapter that was added. The embedded model is converted again when it is needed."""
    from elysia_chat.llm.errors import LibraryError
    from elysia_chat.llm.library.contents import find
    from elysia_chat.llm.library.contents import remove as delete

    entry = find(name)
    if not yes:
        if run.json or not sys.stdin.isatty():
            msg = f"{entry.folder} would be deleted: say --yes."
            raise LibraryError(msg)
        typer.confirm(f"Delete {entry.folder} ({entry.bytes / 1e6:,.0f} MB)?", abort=True, err=True)
    delete(name)
    run.out.print(printable(f"{name} is gone, {entry.bytes / 1e6:,.0f} MB"))
    return {"name": name, "kind": entry.kind, "bytes": entry.bytes}


def _setting(kind: str, name: str) -> str:
    return "model.kind=embedded" if kind == "embedded" else f"model={{kind: {kind}, name: {name}}}"


def _described(entry: "Entry") -> dict[str, Any]:
    record = entry.record
    setting = _setting("transformers", entry.name) if entry.kind == "model" else f"model.adapter={entry.name}"
    return {
        "name": entry.name,
        "kind": entry.kind,
        "path": str(entry.folder),
        "bytes": entry.bytes,
        "setting": setting,
        "base": record.base if record is not None else None,
        "source": None if record is None else record.source,
        "origin": None if record is None else record.origin,
        "revision": None if record is None else record.revision,
        "recipe": None if record is None else record.recipe,
        "added": None if record is None else record.added,
    }


def _model_data(facts: "ModelFacts") -> dict[str, Any]:
    return {
        "architecture": facts.architecture,
        "parameters": facts.parameters,
        "dtype": facts.dtype,
        "context_tokens": facts.context_tokens,
        "rope": facts.rope,
        "vocabulary": facts.vocabulary,
        "chat_template": facts.chat_template,
        "fits": [
            {"format": fit.format, "bytes": fit.bytes, "gpu": fit.gpu, "gpus": fit.gpus, "memory": fit.memory}
            for fit in facts.fits
        ],
    }


def _adapter_data(facts: "AdapterFacts") -> dict[str, Any]:
    return {
        "base": facts.base,
        "parameters": facts.parameters,
        "rank": facts.rank,
        "alpha": facts.alpha,
        "targets": list(facts.targets),
    }


def _model_lines(data: dict[str, Any]) -> list[str]:
    context = "unknown" if data["context_tokens"] is None else f"{data['context_tokens']:,} tokens"
    scaled = f", RoPE {data['rope']}" if data["rope"] else ""
    return [
        f"{data['name']}: {data['architecture']}, {_count(data['parameters'])} parameters in {data['dtype']}",
        f"folder:        {data['path']} ({data['bytes'] / 1e6:,.0f} MB)",
        f"context:       {context}{scaled}",
        f"vocabulary:    {data['vocabulary']:,} tokens" if data["vocabulary"] else "vocabulary:    unknown",
        f"chat template: {'yes' if data['chat_template'] else 'none: it is no chat model'}",
        f"source:        {_origin(data)}",
    ]


def _adapter_lines(data: dict[str, Any]) -> list[str]:
    return [
        f"{data['name']}: LoRA of rank {data['rank']} for {data['base'] or 'a model that it does not name'}",
        f"folder:        {data['path']} ({data['bytes'] / 1e6:,.0f} MB)",
        f"layers:        {', '.join(data['targets'])}",
        f"source:        {_origin(data)}",
    ]


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _origin(data: dict[str, Any]) -> str:
    if data["source"] is None:
        return "put there without `models add`"
    made = " (from InternLM2's form)" * (data["recipe"] == "internlm2")
    return f"{data['source']}{made}" + (f", revision {data['revision']}" if data["revision"] else "")


def _print_fits(run: Run, fits: "tuple[Fit, ...]") -> None:
    from rich.table import Table

    words = {True: "yes", False: "no", None: ""}
    table = Table("format", "needs", "one GPU", "all GPUs", "memory", box=None)
    for fit in fits:
        table.add_row(fit.format, f"{fit.bytes / 1e9:.1f} GB", words[fit.gpu], words[fit.gpus], words[fit.memory])
    run.out.print(table)
