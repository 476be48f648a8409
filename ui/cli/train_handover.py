"""`train merge`, `train gguf` and `train push`: from an adapter to a model that others can use."""

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import typer

from elysia_chat.ui.cli.preparation import progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import Overwrite, refuse


class Into(StrEnum):
    """What an adapter is merged into."""

    AUTO = "auto"
    SIXTEEN = "16-bit"
    DEQUANTISED = "dequantised"


class Dtype(StrEnum):
    """Number format of merged weights."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Kind(StrEnum):
    """Kind of a GGUF file."""

    F16 = "f16"
    Q8 = "q8_0"
    Q4 = "q4_0"


class Hub(StrEnum):
    """Where to publish."""

    HUGGING_FACE = "huggingface"
    MODELSCOPE = "modelscope"


def merge(
    run: Run,
    adapter: Annotated[Path, typer.Argument(metavar="ADAPTER", help="Adapter, checkpoint or run.", show_default=False)],
    out: Annotated[Path | None, typer.Option("--out", "-o", metavar="DIR", help="Folder of the merged model.")] = None,
    name: Annotated[
        str | None, typer.Option("--name", help="Put it among the converted models, to chat with it by this name.")
    ] = None,
    base: Annotated[str | None, typer.Option("--base", help="Base model, where the adapter's is elsewhere.")] = None,
    into: Annotated[
        Into, typer.Option("--into", help="auto: the base as it was in training, dequantised for 4 bits.")
    ] = Into.AUTO,
    bits: Annotated[
        int | None, typer.Option("--bits", help="How the base was loaded in training: 4 or 16; unset: as the run says.")
    ] = None,
    dtype: Annotated[Dtype, typer.Option("--dtype", help="Of the merged weights.")] = Dtype.BFLOAT16,
    shard_size: Annotated[str, typer.Option("--shard-size", help="Largest file of weights.")] = "4GB",
    kinds: Annotated[
        list[Kind] | None, typer.Option("--gguf", help="Also write this GGUF for llama.cpp. May be repeated.")
    ] = None,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """Merge an adapter into its base, and measure what that changed."""
    from elysia_chat.configs.paths import models_dir
    from elysia_chat.training.commands import merge_adapter

    if (out is None) == (name is None):
        refuse("Say where to: --out DIR or --name NAME.")
    if name is not None and (Path(name).name != name or name.startswith(".")):
        refuse(f"'{name}' is no name: letters, digits, - and _.")
    if bits not in (None, 4, 16):
        refuse("--bits is 4 or 16.")
    folder = out if out is not None else models_dir() / str(name)
    report = merge_adapter(
        adapter,
        folder,
        base=base,
        into=into.value,
        bits=cast(Literal[4, 16] | None, bits),
        dtype=dtype.value,
        shard_size=shard_size,
        device=run.settings.model.device,
        overwrite=overwrite,
        progress=lambda what: run.note(f"{what} …"),
    )
    run.out.print(printable(report.summary()), soft_wrap=True)
    written = [_gguf(run, folder, folder / f"{folder.resolve().name}-{kind.value}.gguf", kind, overwrite)
               for kind in kinds or ()]  # fmt: skip
    called = name or str(folder)
    run.out.print(
        printable(f"Next: elysia-chat chat --set 'model={{kind: transformers, name: {called}}}'"), soft_wrap=True
    )
    return {"folder": str(folder), **asdict(report), "gguf": written}


def gguf(
    run: Run,
    model: Annotated[
        Path, typer.Argument(metavar="DIR", help="Merged model, or any Llama or Gemma 3.", show_default=False)
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="The GGUF file.", show_default=False)],
    kind: Annotated[Kind, typer.Option("--kind", help="f16, 8 bits or 4 bits.")] = Kind.Q8,
    overwrite: Overwrite = False,
) -> dict[str, Any]:
    """Write a model as one GGUF file for llama.cpp."""
    return _gguf(run, model, out, kind, overwrite)


def push(
    run: Run,
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Adapter, run, merged model or GGUF files.", show_default=False)
    ],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="Created where it is not there.", show_default=False)
    ],
    hub: Annotated[Hub, typer.Option("--hub", help="Where to publish.")] = Hub.HUGGING_FACE,
    report: Annotated[
        Path | None, typer.Option("--report", metavar="DIR", help="Of the evaluation; the model card quotes it.")
    ] = None,
    base: Annotated[
        str | None, typer.Option("--base", metavar="OWNER/NAME", help="Published name of the base.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", help="Such as apache-2.0.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Let everybody see a repository that this creates.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Send nothing; show the files and the model card.")
    ] = False,
) -> dict[str, Any]:
    """Publish on Hugging Face or ModelScope with a model card; the token is HF_TOKEN or MODELSCOPE_API_TOKEN."""
    from elysia_chat.training.commands import publish

    with run.waiting("sending"):
        plan = publish(
            folder, repo, hub=hub.value, report=report, base=base, licence=licence, private=not public, dry_run=dry_run
        )
    for file, size in plan.files:
        run.out.print(printable(f"{size:>14,}  {file}"))
    if plan.url is None:
        run.out.print(printable(f"\n{plan.card}"), soft_wrap=True)
    run.out.print(printable(plan.url or f"Nothing was sent to {repo}: this was a dry run."), soft_wrap=True)
    files = [{"name": file, "bytes": size} for file, size in plan.files]
    return {"repo": plan.repo, "hub": plan.hub, "url": plan.url, "files": files, "card": plan.card}


def _gguf(run: Run, model: Path, out: Path, kind: Kind, overwrite: bool) -> dict[str, Any]:
    from elysia_chat.training.commands import write_gguf

    with progress_bar(run) as show:
        report = write_gguf(
            model,
            out,
            kind.value,
            overwrite=overwrite,
            progress=lambda share: show(f"writing {kind.value}", share, 1.0),
        )
    run.out.print(printable(f"{out}: {report.bytes / 1e6:,.0f} MB, {report.tensors} tensors"), soft_wrap=True)
    return {**asdict(report), "path": str(out)}
