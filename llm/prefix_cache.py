"""Keys and values of prompt beginnings, kept from one call to the next.

A prompt is computed in blocks of a fixed number of tokens that begin at fixed positions. What a block's computation
gives depends on the tokens up to its end and on nothing else: the same matrix shapes are multiplied whether the blocks
before it were computed a moment ago or come from here. Answers are therefore the same to the last bit with and without
reuse, in every dtype. Only whole blocks are kept, and never what was computed while decoding, where the shapes differ.

A block is found by all token ids from the start of the prompt to its end, compared one by one. A caller can only reach
what its own prompt begins with.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

Block = list[tuple[Any, Any]]
"""Keys and values of each layer, tensors of shape (1, heads, block, head size)."""


class PrefixCache:
    """Keeps the blocks used last. Not thread-safe: it belongs to the thread that computes.

    Args:
        block_tokens: tokens in a block.
        max_tokens: tokens kept at most; the blocks not used for longest go first.
    """

    def __init__(self, block_tokens: int, max_tokens: int) -> None:
        self.block_tokens = block_tokens
        self._max_blocks = max_tokens // block_tokens
        self._blocks: OrderedDict[tuple[int, ...], Block] = OrderedDict()

    def __len__(self) -> int:
        return len(self._blocks)

    def longest(self, tokens: Sequence[int]) -> list[Block]:
        """Return the kept blocks that `tokens` begins with, in order.

        The last token is always left to compute, since its logits are wanted.
        """
        found: list[Block] = []
        for key in self._keys(tokens[:-1]):
            block = self._blocks.get(key)
            if block is None:
                break
            found.append(block)
        self.touch(tokens)
        return found

    def touch(self, tokens: Sequence[int]) -> None:
        """Count the kept blocks that `tokens` begins with as used just now.

        The first block is counted last: it serves most prompts, and no later block can be found without it.
        """
        for key in reversed(self._keys(tokens)):
            if key in self._blocks:
                self._blocks.move_to_end(key)

    def put(self, tokens: Sequence[int], block: Block) -> None:
        """Keep the last block of `tokens`, whose number is a multiple of the block's."""
        if len(tokens) > self._max_blocks * self.block_tokens:
            return
        self._blocks[tuple(tokens)] = block
        while len(self._blocks) > self._max_blocks:
            self._blocks.popitem(last=False)

    def clear(self) -> None:
        """Forget everything."""
        self._blocks.clear()

    def _keys(self, tokens: Sequence[int]) -> list[tuple[int, ...]]:
        size = self.block_tokens
        return [tuple(tokens[:end]) for end in range(size, len(tokens) + 1, size)]
