"""Triton kernels for attention of single tokens: the past is read once for all heads that share it, in several parts.

One token alone cannot keep a GPU busy if one program reads the whole past, so the past is split among programs, and
their sums are joined afterwards.
"""

# Triton reads the annotations of a kernel itself, and is not there where torch comes without CUDA.
# ruff: noqa: ANN001, ANN201, ANN202
# mypy: ignore-errors

import triton
import triton.language as tl


@triton.jit
def _turned(vector, heads, known, cosine, sine, HEAD: tl.constexpr):
    """Return rows of a vector of heads, turned by RoPE; shape (heads, HEAD), float32."""
    place = tl.arange(0, HEAD)
    half: tl.constexpr = HEAD // 2
    partner = tl.where(place < half, place + half, place - half)
    sign = tl.where(place < half, -1.0, 1.0)
    rows = heads[:, None] * HEAD
    plain = tl.load(vector + rows + place[None, :], mask=known[:, None], other=0.0).to(tl.float32)
    other = tl.load(vector + rows + partner[None, :], mask=known[:, None], other=0.0).to(tl.float32)
    return plain * cosine[None, :] + other * sign[None, :] * sine[None, :]


@triton.jit
def attend_part(
    qkv, cosines, sines, keys, values, length, tops, sums, parts, capacity, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Turn a new token's heads by RoPE, keep its keys and values, and attend to a part of the past.

    One program for each key head and each part; the first part takes the new token as well.

    Args:
        qkv: of the new token, shape ((HEADS + 2 * KV_HEADS) * HEAD,).
        cosines: by position, shape (positions, HEAD), float32.
        sines: likewise.
        keys: shape (KV_HEADS, capacity, HEAD).
        values: likewise.
        length: number of tokens before the new one, shape (1,), int64.
        tops: largest score of each part, shape (KV_HEADS, SPLITS, GROUP), float32.
        sums: of the exponentials, likewise.
        parts: weighted values, shape (KV_HEADS, SPLITS, GROUP, HEAD), float32.
        capacity: of keys and values.
        scale: of the scores.
        HEADS: query heads.
        KV_HEADS: key heads.
        HEAD: size of a head.
        GROUP: query heads of a key head, padded to at least 16.
        SPLITS: parts.
        BLOCK: tokens at a time.
    """
    head, split = tl.program_id(0), tl.program_id(1)
    shared: tl.constexpr = HEADS // KV_HEADS
    position = tl.load(length)
    place = tl.arange(0, HEAD)
    members = tl.arange(0, GROUP)
    cosine = tl.load(cosines + position * HEAD + place)
    sine = tl.load(sines + position * HEAD + place)
    query = _turned(qkv, head * shared + members, members < shared, cosine, sine, HEAD) * scale
    row = head.to(tl.int64) * capacity * HEAD
    top = tl.full([GROUP], float("-inf"), dtype=tl.float32)
    total = tl.zeros([GROUP], dtype=tl.float32)
    result = tl.zeros([GROUP, HEAD], dtype=tl.float32)
    share = tl.cdiv(tl.cdiv(position, SPLITS), BLOCK) * BLOCK
    begin = split * share
    end = tl.minimum(begin + share, position)
    for first in range(begin, end, BLOCK):
        tokens = first + tl.arange(0, BLOCK)
        known = tokens < end
        at = row + tokens[:, None] * HEAD + place[None, :]
        key = tl.load(keys + at, mask=known[:, None], other=0.0)
        value = tl.load(values + at, mask=known[:, None], other=0.0)
        scores = tl.dot(query.to(key.dtype), tl.trans(key), input_precision="ieee")
        scores = tl.where(known[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp(scores - higher[:, None])
        kept = tl.exp(top - higher)
        total = total * kept + tl.sum(weights, axis=1)
        result = result * kept[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    if split == 0:
        alone = tl.zeros([1], dtype=tl.int32)
        new_key = _turned(qkv + HEADS * HEAD, alone + head, alone == 0, cosine, sine, HEAD)
        new_key = tl.sum(new_key, axis=0).to(keys.dtype.element_ty)
        new_value = tl.load(qkv + (HEADS + KV_HEADS + head) * HEAD + place).to(values.dtype.element_ty)
        tl.store(keys + row + position * HEAD + place, new_key)
        tl.store(values + row + position * HEAD + place, new_value)
        score = tl.sum(query * new_key.to(tl.float32)[None, :], axis=1)
        higher = tl.maximum(top, score)
        kept, weight = tl.exp(top - higher), tl.exp(score - higher)
        total = total * kept + weight
        result = result * kept[:, None] + weight[:, None] * new_value.to(tl.float32)[None, :]
        top = higher
    entry = (head * SPLITS + split) * GROUP + members
    tl.store(tops + entry, top)
    tl.store(sums + entry, total)
    tl.store(parts + entry[:, None] * HEAD + place[None, :], result)


@triton.jit
def attend_paged_part(
    query, keys, values, read_index, query_ends, key_ends, tops, sums, parts, sequences, scale,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
    BLOCK: tl.constexpr, SEARCH: tl.constexpr,
):  # fmt: skip
    """Attend from each of some tokens to a part of its own sequence, whose keys lie where an index says.

    One program for each token, key head and part. Tokens of padding, which belong to no sequence, get zeros.

    Args:
        query: shape (tokens, HEADS, HEAD), rows close together.
        keys: shape (rows, KV_HEADS, HEAD), those of the new tokens included.
        values: likewise.
        read_index: row of each token of each sequence, one sequence after the other, int64.
        query_ends: where the new tokens of each sequence end, shape (sequences + 1,), the first 0, int32.
        key_ends: where all its tokens end in `read_index`, likewise.
        tops: largest score of each part, shape (tokens, KV_HEADS, SPLITS, GROUP), float32.
        sums: of the exponentials, likewise.
        parts: weighted values, shape (tokens, KV_HEADS, SPLITS, GROUP, HEAD), float32.
        sequences: their number.
        scale: of the scores.
        HEADS: query heads.
        KV_HEADS: key heads.
        HEAD: size of a head.
        GROUP: query heads of a key head, padded to at least 16.
        SPLITS: parts.
        BLOCK: tokens at a time.
        SEARCH: at least `sequences`, a power of two.
    """
    token, head, split = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    shared: tl.constexpr = HEADS // KV_HEADS
    numbers = tl.arange(0, SEARCH)
    ends = tl.load(query_ends + 1 + numbers, mask=numbers < sequences, other=2147483647)
    sequence = tl.sum((ends <= token).to(tl.int32), axis=0)
    owned = sequence < sequences
    sequence = tl.minimum(sequence, sequences - 1)
    first_key = tl.load(key_ends + sequence)
    length = tl.load(key_ends + sequence + 1) - first_key
    # A token sees those after it no more than its own past does.
    length -= tl.load(query_ends + sequence + 1) - 1 - token
    length = tl.where(owned, length, 0)
    place = tl.arange(0, HEAD)
    members = tl.arange(0, GROUP)
    at = (token * HEADS + head * shared + members).to(tl.int64)[:, None] * HEAD + place[None, :]
    asked = tl.load(query + at, mask=(members < shared)[:, None], other=0.0)
    top = tl.full([GROUP], float("-inf"), dtype=tl.float32)
    total = tl.zeros([GROUP], dtype=tl.float32)
    result = tl.zeros([GROUP, HEAD], dtype=tl.float32)
    share = tl.cdiv(tl.cdiv(length, SPLITS), BLOCK) * BLOCK
    begin = split * share
    end = tl.minimum(begin + share, length)
    for first in range(begin, end, BLOCK):
        tokens = first + tl.arange(0, BLOCK)
        known = tokens < end
        rows = tl.load(read_index + first_key + tokens, mask=known, other=0)
        cell = (rows[:, None] * KV_HEADS + head) * HEAD + place[None, :]
        key = tl.load(keys + cell, mask=known[:, None], other=0.0)
        value = tl.load(values + cell, mask=known[:, None], other=0.0)
        scores = tl.dot(asked, tl.trans(key), input_precision="ieee") * scale
        scores = tl.where(known[None, :], scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, axis=1))
        weights = tl.exp(scores - higher[:, None])
        kept = tl.exp(top - higher)
        total = total * kept + tl.sum(weights, axis=1)
        result = result * kept[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    entry = ((token * KV_HEADS + head) * SPLITS + split) * GROUP + members
    tl.store(tops + entry, top)
    tl.store(sums + entry, total)
    tl.store(parts + entry[:, None] * HEAD + place[None, :], result)


@triton.jit
def join_parts(
    tops, sums, parts, out,
    HEADS: tl.constexpr, KV_HEADS: tl.constexpr, HEAD: tl.constexpr, GROUP: tl.constexpr, SPLITS: tl.constexpr,
):  # fmt: skip
    """Join the parts of the past: one program for each token and query head.

    Args:
        tops: largest score of each part, shape (tokens, KV_HEADS, SPLITS, GROUP), float32.
        sums: of the exponentials, likewise.
        parts: weighted values, shape (tokens, KV_HEADS, SPLITS, GROUP, HEAD), float32.
        out: shape (tokens, HEADS, HEAD).
        HEADS: query heads.
        KV_HEADS: key heads.
        HEAD: size of a head.
        GROUP: query heads of a key head, padded.
        SPLITS: parts, a power of two.
    """
    token, head = tl.program_id(0), tl.program_id(1)
    shared: tl.constexpr = HEADS // KV_HEADS
    splits = tl.arange(0, SPLITS)
    place = tl.arange(0, HEAD)
    entry = ((token * KV_HEADS + head // shared) * SPLITS + splits) * GROUP + head % shared
    top = tl.load(tops + entry)
    # Parts without a token have no score; a token of padding has none in any part.
    weight = tl.exp(top - tl.maximum(tl.max(top, axis=0), -1e30))
    total = tl.sum(weight * tl.load(sums + entry), axis=0)
    result = tl.sum(tl.load(parts + entry[:, None] * HEAD + place[None, :]) * weight[:, None], axis=0)
    result = tl.where(total > 0, result / tl.where(total > 0, total, 1.0), 0.0)
    tl.store(out + (token * HEADS + head) * HEAD + place, result.to(out.dtype.element_ty))
