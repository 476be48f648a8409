"""Pictures of a dataset: how long its prompts and answers are, and what it consists of."""

import importlib.util
import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from elysia_chat.training.dataset.example import Example

_log = logging.getLogger(__name__)
LENGTHS, KINDS = "lengths.png", "kinds.png"


def draw_dataset(train: Sequence[Example], test: Sequence[Example], folder: Path) -> list[Path]:
    """Draw `lengths.png` and `kinds.png`; nothing where matplotlib is missing.

    Returns:
        The pictures.
    """
    if importlib.util.find_spec("matplotlib") is None:
        _log.warning("The dataset has no pictures: they need matplotlib (pip install matplotlib).")
        return []
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    for axes, what, lengths in zip(
        figure.subplots(1, 2),
        ("prompt", "answer"),
        (
            [sum(len(message["content"]) for message in item.messages) for item in (*train, *test)],
            [len(item.answer) for item in (*train, *test)],
        ),
        strict=True,
    ):
        axes.hist(lengths, bins=40)
        axes.set_xlabel(f"characters of the {what}")
        axes.set_ylabel("examples")
        axes.grid(axis="y", alpha=0.3)
    figure.savefig(folder / LENGTHS, dpi=110)

    counts = Counter(item.kind for item in (*train, *test)).most_common()
    figure = Figure(figsize=(7, 1 + 0.3 * len(counts)), layout="constrained")
    axes = figure.subplots()
    names = [name.encode("ascii", "replace").decode() for name, _ in counts]
    axes.barh(range(len(counts)), [count for _, count in counts])
    axes.set_yticks(range(len(counts)), names)
    axes.invert_yaxis()
    axes.set_xlabel("examples")
    figure.savefig(folder / KINDS, dpi=110)
    return [folder / LENGTHS, folder / KINDS]
