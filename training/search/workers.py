"""Batches of questions that other processes draw while the GPU computes."""

from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader, IterableDataset, get_worker_info


def drawn_by_workers(batches: Callable[[str], Iterator[Any]], workers: int, seed: str) -> Iterator[Any]:
    """Yield batches in turn from so many processes, each with a seed of its own.

    Args:
        batches: gives the batches of a seed, without end; it is sent to the processes, so it must pickle.
        workers: how many processes.
        seed: of all of them; the same seed and number of workers give the same batches.
    """
    loader = DataLoader(
        _Drawn(batches, seed), batch_size=None, num_workers=workers, prefetch_factor=4, multiprocessing_context="spawn"
    )
    return iter(loader)


class _Drawn(IterableDataset[Any]):
    def __init__(self, batches: Callable[[str], Iterator[Any]], seed: str) -> None:
        self._batches, self._seed = batches, seed

    def __iter__(self) -> Iterator[Any]:
        worker = get_worker_info()
        return self._batches(f"{self._seed}/{worker.id if worker else 0}")
