"""Fakes of this folder's seams. `HashEmbeddings` can be chosen in the settings, so everything runs without weights."""

import hashlib
import math
import re
from functools import lru_cache
from itertools import pairwise

from langchain_core.embeddings import Embeddings

_PIECES = re.compile(r"[a-z0-9]+|[^\W_a-z0-9]", re.IGNORECASE)


class HashEmbeddings(Embeddings):
    """Vectors from hashed words and character pairs: deterministic, instant, and good for overlapping words alone."""

    def __init__(self, dimensions: int = 256) -> None:
        self.dimensions = dimensions

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Return one vector of length 1 for each text, (len(texts), dimensions)."""
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """Return a vector of length 1, (dimensions,)."""
        vector = [0.0] * self.dimensions
        pieces = _PIECES.findall(text.casefold())
        for feature in pieces + [a + b for a, b in pairwise(pieces)]:
            index, sign = _bucket(feature, self.dimensions)
            vector[index] += sign
        length = math.sqrt(sum(value * value for value in vector))
        if length == 0.0:
            vector[0] = length = 1.0
        return [value / length for value in vector]


@lru_cache(maxsize=65536)
def _bucket(feature: str, dimensions: int) -> tuple[int, float]:
    digest = hashlib.blake2b(feature.encode(), digest_size=8).digest()
    return int.from_bytes(digest[:7], "big") % dimensions, 1.0 if digest[7] & 1 else -1.0
