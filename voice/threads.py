"""How many threads speech computes with."""

from contextlib import AbstractContextManager
from functools import cache
from typing import Any


def limit_threads(threads: int) -> AbstractContextManager[Any]:
    """Return a context in which torch's loops of the calling thread use so many threads, and those of no other less.

    `torch.set_num_threads` would also change how many the language model gets.
    """
    limited: AbstractContextManager[Any] = _openmp().limit(limits=threads, user_api="openmp")
    return limited


@cache
def _openmp() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
