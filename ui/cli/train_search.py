"""`train search`: an embedding model or a reranker for lore."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from elysia_chat.ui.cli.preparation import progress_bar
from elysia_chat.ui.cli.run import Run
from elysia_chat.ui.cli.streams import printable
from elysia_chat.ui.cli.train_options import OutFolder


def search(
    run: Run,
    task: Annotated[
        Literal["embedder", "reranker"], typer.Argument(help="What to make of the encoder.", show_default=False)
    ],
    out: OutFolder,
    base: Annotated[
        str, typer.Option("--base", metavar="MODEL", help="'embedded', or a folder with a BERT encoder.")
    ] = "embedded",
    steps: Annotated[int, typer.Option("--steps", min=1)] = 2000,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Questions a step.")] = 64,
    negatives: Annotated[int, typer.Option("--negatives", min=1, help="Other passages a question.")] = 5,
    rank: Annotated[int, typer.Option("--rank", min=1, help="Of the low-rank changes.")] = 64,
    learning_rate: Annotated[float, typer.Option("--learning-rate", min=0.0)] = 5e-4,
    squad: Annotated[
        Path | None, typer.Option("--squad", metavar="FILE", help="Questions in SQuAD's form to mix in.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed")] = 1,
    start: Annotated[
        Path | None, typer.Option("--start", metavar="FILE", help="factors.safetensors of a run to go on from.")
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0.0, help="End after so long, where that is before the steps. 0: never.")
    ] = 0.0,
    workers: Annotated[
        int, typer.Option("--workers", min=0, help="Processes that draw questions; six keep a fast GPU busy.")
    ] = 0,
) -> dict[str, Any]:
    """Train the search on invented worlds and scenes: for embeddings.name or retrieval.reranker."""
    from elysia_chat.training.commands import train_the_search

    folder = Path(base).expanduser()
    if base == "embedded":
        from elysia_chat.kb.embedded_e5 import plain_model_folder

        folder = plain_model_folder()
    settings = {
        "steps": steps, "batch": batch, "negatives": negatives, "rank": rank, "learning_rate": learning_rate,
        "seed": seed, "workers": workers, "start": str(start.expanduser()) if start else "", "max_seconds": seconds,
    }  # fmt: skip
    with progress_bar(run) as show:
        results = train_the_search(
            task,
            folder,
            out,
            settings=settings,
            squad=squad,
            progress=lambda done: show("training the search", done, steps),
        )
    setting = "retrieval.reranker" if task == "reranker" else "embeddings.name"
    run.out.print(f"{len(results['losses'])} steps, {results['seconds']:.0f} s, loss {results['loss']:.4f}")
    run.out.print(printable(f"Next: elysia-chat web --set {setting}={results['model']}"), soft_wrap=True)
    return {key: value for key, value in results.items() if key != "losses"}
