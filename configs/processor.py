"""What the processor is fast with."""

# Instructions for products of bfloat16 numbers. Without them a CPU computes bfloat16 slower than float32.
_FAST_BFLOAT16 = ("avx512_bf16", "amx_bf16", "bf16")


def is_fast_with_bfloat16() -> bool:
    """Tell whether the CPU multiplies matrices of bfloat16 numbers by instructions of their own."""
    import torch

    able = torch.cpu.get_capabilities()
    return any(able.get(name, False) for name in _FAST_BFLOAT16)
