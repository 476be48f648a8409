"""Keys and values of prompt beginnings, kept from one call to the next.

A prompt is computed in chunks whose ends follow from the prompt alone (the end of the persona's turn, and of turns
after it). What a chunk's computation gives depends on the chunks up to it and on nothing else: matrices of the same
shapes are multiplied by the same number of threads, whether the chunks before were computed a moment ago or come from
here. Answers are therefore the same to the last bit with and without reuse, in every dtype. Nothing is kept that was
computed while decoding, where the shapes differ, nor the last chunk, since no other prompt goes on from it.

A chunk is found by all token ids from the start of the prompt to its end, and by where the chunks before it ended. A
caller can only reach what its own prompt begins with.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

Chunk = tuple[int, ...]
"""Token ids that are computed at once."""
State = list[tuple[Any, Any]]
"""Keys and values of a chunk in each layer, tensors of shape (1, heads, tokens, head size)."""


class PrefixCache:
    """Keeps the chunks used last. Not thread-safe: it belongs to the thread that computes.

    Args:
        max_tokens: tokens kept at most; the chunks not used for longest go first.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._states: OrderedDict[tuple[Chunk, ...], State] = OrderedDict()
        self._tokens = 0

    def __len__(self) -> int:
        """Return the number of tokens kept."""
        return self._tokens

    def longest(self, chunks: Sequence[Chunk]) -> list[State]:
        """Return the states of the first chunks, as far as they are kept."""
        found: list[State] = []
        for end in range(1, len(chunks) + 1):
            state = self._states.get(tuple(chunks[:end]))
            if state is None:
                break
            found.append(state)
        return found

    def put(self, chunks: Sequence[Chunk], state: State) -> None:
        """Keep the state of the last of `chunks`; a prompt that is too long to be kept whole is kept up to here."""
        if sum(map(len, chunks)) > self._max_tokens:
            return
        key = tuple(chunks)
        self._tokens += 0 if key in self._states else len(chunks[-1])
        self._states[key] = state
        while self._tokens > self._max_tokens:
            dropped, _ = self._states.popitem(last=False)
            self._tokens -= len(dropped[-1])

    def touch(self, chunks: Sequence[Chunk]) -> None:
        """Count the kept chunks that a prompt begins with as used just now.

        The first chunk is counted last: it serves most prompts, and no later one can be found without it.
        """
        for end in range(len(chunks), 0, -1):
            if tuple(chunks[:end]) in self._states:
                self._states.move_to_end(tuple(chunks[:end]))

    def clear(self) -> None:
        """Forget everything."""
        self._states.clear()
        self._tokens = 0
