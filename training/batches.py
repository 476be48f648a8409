"""Batches of examples of similar length under a budget of tokens."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.training.tokens import IGNORED, Encoded

if TYPE_CHECKING:
    import torch


class TokenBudgetSampler:
    """Yields lists of indices; a batch of n examples of at most m tokens has n * m <= budget.

    Examples of similar length come together: each epoch shuffles, sorts within stretches of many batches, cuts, and
    shuffles the batches. The same seed and epoch give the same batches, so that a resumed run goes on exactly.
    """

    def __init__(
        self, sizes: NDArray[np.int64], budget: int, seed: int, replicas: int = 1, stretch: int = 4096
    ) -> None:
        self.sizes = sizes
        self.budget = budget
        self.seed = seed
        self.replicas = replicas
        self.stretch = stretch
        self.epoch = 0
        self.drop_last = False

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose batches come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._batches(0))

    def __iter__(self) -> Iterator[list[int]]:
        yield from self._batches(self.epoch)

    def _batches(self, epoch: int) -> list[list[int]]:
        # The cuts are those of epoch 0, so that every epoch has the same number of batches; their order changes.
        order = np.random.default_rng(self.seed).permutation(len(self.sizes))
        batches: list[list[int]] = []
        for start in range(0, len(order), self.stretch):
            part = order[start : start + self.stretch]
            part = part[np.argsort(self.sizes[part], kind="stable")]
            current: list[int] = []
            for index in part:
                if current and (len(current) + 1) * int(self.sizes[index]) > self.budget:
                    batches.append(current)
                    current = []
                current.append(int(index))
            batches.append(current)
        mixed = np.random.default_rng((self.seed, epoch)).permutation(len(batches))
        kept = len(batches) - len(batches) % self.replicas if len(batches) >= self.replicas else len(batches)
        return [batches[index] for index in mixed[:kept]]


def collate(items: Sequence[Encoded], pad: int, multiple: int = 16) -> dict[str, "torch.Tensor"]:
    """Pad a batch on the right.

    Returns:
        input_ids, position_ids, segments and parents (-1 where padded) and labels, each (batch, length) and int64; the
        length is a multiple of `multiple`. A label is the token that follows its position.
    """
    import torch

    length = -(-max(len(item.ids) for item in items) // multiple) * multiple
    fields = {
        "input_ids": ("ids", pad),
        "position_ids": ("position", 0),
        "segments": ("segment", -1),
        "parents": ("parent", -1),
        "labels": ("target", IGNORED),
    }
    batch = {}
    for name, (field, empty) in fields.items():
        rows = np.full((len(items), length), empty, dtype=np.int64)
        for row, item in enumerate(items):
            values = getattr(item, field)
            rows[row, : len(values)] = values
        batch[name] = torch.from_numpy(rows)
    return batch


class EncodedDataset:
    """Encoded examples as a torch dataset."""

    def __init__(self, encoded: Sequence[Encoded]) -> None:
        self.encoded = encoded

    def __len__(self) -> int:
        return len(self.encoded)

    def __getitem__(self, index: int) -> Any:
        return self.encoded[index]
