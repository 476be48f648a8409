"""Triton kernels for one token: a vector times a matrix, with all that stands around it in a decoder layer.

One token costs one reading of every weight, so what counts is that memory never rests: few kernels, each reading its
matrix once, with norm, bias, residual and activation done on the way. Sums are kept in float32.
"""

# Triton reads the annotations of a kernel itself, and is not there where torch comes without CUDA.
# ruff: noqa: ANN001, ANN201
# mypy: ignore-errors

import triton
import triton.language as tl

# Rows of a program, columns at a time, warps, and how many columns ahead are on their way. Which is best depends on the
# shape and the GPU: it is tried out once.
_TILES = (
    (1, 2048, 4, 1), (2, 1024, 4, 1), (4, 512, 4, 1), (4, 1024, 4, 1), (8, 512, 8, 1), (2, 2048, 8, 1),
    (1, 2048, 4, 4), (2, 1024, 4, 4), (4, 512, 4, 4), (4, 1024, 8, 3),
)  # fmt: skip
_CONFIGS = [
    triton.Config({"BLOCK_N": rows, "BLOCK_K": columns, "STAGES": stages}, num_warps=warps)
    for rows, columns, warps, stages in _TILES
]


@triton.autotune(_CONFIGS, key=["N", "K", "NORM"])
@triton.jit
def project(
    x, gain, weight, bias, residual, out, N, K, eps,
    NORM: tl.constexpr, BIAS: tl.constexpr, RESIDUAL: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr,
    STAGES: tl.constexpr,
):  # fmt: skip
    """Compute out = weight @ norm(x) + bias + residual.

    Args:
        x: shape (K,).
        gain: of the RMS norm, shape (K,); read where NORM.
        weight: shape (N, K), rows close together.
        bias: shape (N,); read where BIAS.
        residual: shape (N,), not `out`; read where RESIDUAL.
        out: shape (N,).
        N: rows of the matrix.
        K: columns of the matrix.
        eps: of the norm.
        NORM: whether x is normed.
        BIAS: whether there is one.
        RESIDUAL: whether there is one.
        BLOCK_N: rows of a program.
        BLOCK_K: columns at a time.
        STAGES: loads on their way at once; 1 is left to the hardware.
    """
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = rows < N
    total = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    squares = tl.zeros([BLOCK_K], dtype=tl.float32)
    start = weight + rows.to(tl.int64)[:, None] * K
    for begin in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        columns = begin + tl.arange(0, BLOCK_K)
        inside = columns < K
        w = tl.load(start + columns[None, :], mask=valid[:, None] & inside[None, :], other=0.0)
        v = tl.load(x + columns, mask=inside, other=0.0).to(tl.float32)
        if NORM:
            squares += v * v
            v *= tl.load(gain + columns, mask=inside, other=0.0).to(tl.float32)
        total += w.to(tl.float32) * v[None, :]
    result = tl.sum(total, axis=1)
    if NORM:
        result *= tl.rsqrt(tl.sum(squares, axis=0) / K + eps)
    if BIAS:
        result += tl.load(bias + rows, mask=valid, other=0.0).to(tl.float32)
    if RESIDUAL:
        result += tl.load(residual + rows, mask=valid, other=0.0).to(tl.float32)
    tl.store(out + rows, result.to(out.dtype.element_ty), mask=valid)


@triton.autotune(_CONFIGS, key=["N", "K"])
@triton.jit
def gated(
    x, gain, weight, out, N, K, eps, BLOCK_N: tl.constexpr, BLOCK_K: tl.constexpr, STAGES: tl.constexpr
):  # fmt: skip
    """Compute out = silu(gate @ norm(x)) * (up @ norm(x)), where weight is gate above up.

    Args:
        x: shape (K,).
        gain: of the RMS norm, shape (K,).
        weight: shape (2 * N, K), rows close together.
        out: shape (N,).
        N: rows of gate, and of up.
        K: columns.
        eps: of the norm.
        BLOCK_N: rows of a program.
        BLOCK_K: columns at a time.
        STAGES: loads on their way at once; 1 is left to the hardware.
    """
    rows = tl.program_id(0) * BLOCK_N + tl.arange(0, BLOCK_N)
    valid = rows < N
    gate = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    up = tl.zeros([BLOCK_N, BLOCK_K], dtype=tl.float32)
    squares = tl.zeros([BLOCK_K], dtype=tl.float32)
    start = weight + rows.to(tl.int64)[:, None] * K
    second = start + tl.cast(N, tl.int64) * K
    for begin in tl.range(0, K, BLOCK_K, num_stages=STAGES):
        columns = begin + tl.arange(0, BLOCK_K)
        inside = columns < K
        here = valid[:, None] & inside[None, :]
        g = tl.load(start + columns[None, :], mask=here, other=0.0)
        u = tl.load(second + columns[None, :], mask=here, other=0.0)
        v = tl.load(x + columns, mask=inside, other=0.0).to(tl.float32)
        squares += v * v
        v *= tl.load(gain + columns, mask=inside, other=0.0).to(tl.float32)
        gate += g.to(tl.float32) * v[None, :]
        up += u.to(tl.float32) * v[None, :]
    scale = tl.rsqrt(tl.sum(squares, axis=0) / K + eps)
    gated_by = tl.sum(gate, axis=1) * scale
    result = gated_by * tl.sigmoid(gated_by) * tl.sum(up, axis=1) * scale
    tl.store(out + rows, result.to(out.dtype.element_ty), mask=valid)
