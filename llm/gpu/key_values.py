"""Keys and values of one conversation in tensors that never move, and of others, parked until they go on.

Shapes that stay the same are what a CUDA graph needs. A step that reads the memory does so up to a fixed bound, the
smallest of a few that holds the text, and a mask made of positions hides what lies behind its end. So a text is cut
short by its length alone: what was written behind it is written over.
"""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch

Pair = tuple[torch.Tensor, torch.Tensor]
"""Keys and values of a layer, each of shape (1, heads, tokens, head size)."""

SMALLEST_BOUND = 1024


class KeyValues:
    """The memory of a model for one text.

    Args:
        model: of transformers, all of whose layers are attention.
        capacity: longest text, in tokens.
        smallest_bound: the next ones are twice as long each, up to the capacity.

    Attributes:
        layers: the tensors of each layer, each of shape (1, heads, capacity, head size).
        lengths: tokens of the text, once for each layer, int64; a step adds to them.
        bounds: up to where a step may read, in tokens.
    """

    def __init__(self, model: Any, capacity: int, smallest_bound: int = SMALLEST_BOUND) -> None:
        shapes = layer_shapes(model)
        self.capacity = capacity
        self.layers: list[Pair] = [
            (_zeros(keys, capacity, model), _zeros(values, capacity, model)) for keys, values in shapes
        ]
        self.lengths = torch.zeros(len(shapes), dtype=torch.long, device=model.device)
        doubled = [smallest_bound << step for step in range(64) if smallest_bound << step < capacity]
        self.bounds = (*doubled, capacity)
        self._caches: dict[int, Any] = {}

    def bound(self, tokens: int) -> int:
        """Return the smallest bound that holds so many tokens."""
        return next(bound for bound in self.bounds if bound >= tokens)

    def cache(self, bound: int) -> Any:
        """Return the memory up to a bound, as a cache of transformers."""
        if bound not in self._caches:
            self._caches[bound] = self._view(bound)
        return self._caches[bound]

    def cut(self, tokens: int) -> None:
        """Let the text end after so many tokens."""
        self.lengths.fill_(tokens)

    def copy(self, tokens: int) -> list[Pair]:
        """Return copies of the first tokens' keys and values."""
        return [(keys[:, :, :tokens].clone(), values[:, :, :tokens].clone()) for keys, values in self.layers]

    def load(self, state: Sequence[Pair], tokens: int) -> None:
        """Put the first tokens of a copy in the place of the text's."""
        for (keys, values), (old_keys, old_values) in zip(self.layers, state, strict=True):
            keys[:, :, :tokens] = old_keys[:, :, :tokens]
            values[:, :, :tokens] = old_values[:, :, :tokens]

    def _view(self, bound: int) -> Any:
        from transformers import Cache
        from transformers.cache_utils import StaticLayer

        views = []
        for number, (keys, values) in enumerate(self.layers):
            # Sliding layers keep all positions as well: masks come from positions, and a beginning stays exact.
            layer = StaticLayer(max_cache_len=bound)
            layer.keys, layer.values = keys[:, :, :bound], values[:, :, :bound]
            layer.dtype, layer.device = keys.dtype, keys.device
            layer.cumulative_length = self.lengths[number]
            layer.is_initialized = True
            views.append(layer)
        return Cache(layers=views)


class ParkedTexts:
    """Copies of texts that may go on later; those not used for longest go first.

    Args:
        max_tokens: kept at most.
    """

    def __init__(self, max_tokens: int) -> None:
        self._max_tokens = max_tokens
        self._texts: OrderedDict[tuple[int, ...], list[Pair]] = OrderedDict()

    def __len__(self) -> int:
        """Return the number of tokens kept."""
        return sum(map(len, self._texts))

    def park(self, tokens: Sequence[int], state: list[Pair]) -> None:
        """Keep a text."""
        self._texts[tuple(tokens)] = state
        while len(self) > self._max_tokens:
            self._texts.popitem(last=False)

    def fits(self, tokens: int) -> bool:
        """Tell whether a text of so many tokens can be kept."""
        return tokens <= self._max_tokens

    def longest(self, tokens: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Return how many of the tokens the best text begins with, and its own tokens; 0 and none where none does."""
        found = ((common_beginning(text, tokens), text) for text in self._texts)
        return max(found, key=lambda pair: pair[0], default=(0, ()))

    def take(self, text: tuple[int, ...], keep: bool) -> list[Pair]:
        """Return the state of a text; it is kept on where asked for."""
        state = self._texts.pop(text)
        if keep:
            self._texts[text] = state
        return state

    def clear(self) -> None:
        """Forget everything."""
        self._texts.clear()


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """Return how many tokens two texts begin with in common."""
    shorter = min(len(one), len(other))
    return next((place for place in range(shorter) if one[place] != other[place]), shorter)


def layer_shapes(model: Any) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """Return the heads and the head size of each layer's keys and values, by computing one token."""
    from transformers import DynamicCache

    cache = DynamicCache()
    with torch.inference_mode():
        model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=model.device), past_key_values=cache)
    return [tuple((part.shape[1], part.shape[3]) for part in (layer.keys, layer.values)) for layer in cache.layers]  # type: ignore[misc]


def bytes_of_a_token(model: Any) -> int:
    """Return what keys and values of one token take."""
    shapes = layer_shapes(model)
    return sum(heads * size for layer in shapes for heads, size in layer) * int(model.dtype.itemsize)


def _zeros(shape: tuple[int, int], capacity: int, model: Any) -> torch.Tensor:
    heads, size = shape
    return torch.zeros((1, heads, capacity, size), dtype=model.dtype, device=model.device)
