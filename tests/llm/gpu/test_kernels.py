"""The kernels for one token, against transformers' own forward.

Without a GPU Triton's interpreter runs them: TRITON_INTERPRET=1 pytest tests/llm/gpu/test_kernels.py
"""

import os

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from elysia_chat.llm.gpu.key_values import KeyValues
from elysia_chat.llm.gpu.llama_step import LlamaStep, fits

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
# NumPy, in which the interpreter computes, has no bfloat16.
DTYPES = (torch.float16, torch.bfloat16) if DEVICE == "cuda" else (torch.float16,)
pytest.importorskip("triton", reason="comes with torch's CUDA builds alone")
if DEVICE == "cpu" and os.environ.get("TRITON_INTERPRET") != "1":
    pytest.skip("needs a GPU, or TRITON_INTERPRET=1 from the start", allow_module_level=True)


@pytest.fixture(autouse=True)
def no_choice_of_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    from elysia_chat.llm.gpu import matvec_kernels

    if DEVICE == "cpu":  # there is nothing to measure
        for kernel in (matvec_kernels.project, matvec_kernels.gated):
            monkeypatch.setattr(kernel, "configs", kernel.configs[2:3])


def llama(bias: bool, rope: str) -> LlamaForCausalLM:
    torch.manual_seed(0)
    parameters = {"rope_type": rope, "rope_theta": 10000.0} | ({"factor": 2.0} if rope == "dynamic" else {})
    config = LlamaConfig(
        vocab_size=300, hidden_size=96, intermediate_size=160, num_hidden_layers=2, num_attention_heads=6,
        num_key_value_heads=2, head_dim=16, attention_bias=bias, max_position_embeddings=256, initializer_range=0.2,
        rope_parameters=parameters,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.to(DEVICE)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("bias", "rope"), [(False, "default"), (True, "dynamic")])
def test_logits_are_those_of_the_usual_forward(bias: bool, rope: str, dtype: torch.dtype):
    model = llama(bias, rope).to(dtype)
    assert fits(model)
    tokens = torch.randint(0, 300, (1, 80), device=DEVICE)
    with torch.inference_mode():
        expected = model(input_ids=tokens).logits[0].float()
        memory = KeyValues(model, 256, 64)
        step = LlamaStep(model, memory)
        for begin, end in ((76, 80), (0, 2)):
            memory.cut(0)
            if begin:
                model(input_ids=tokens[:, :begin], past_key_values=memory.cache(256))
            for place in range(begin, end):
                step.tokens.copy_(tokens[:, place : place + 1])
                step()
                difference = (step.logits[0] - expected[place]).norm() / expected[place].norm()
                # Another order of the sums in 16 bits: 0.024 on an H200. Wrong kernels differ by about 1.
                assert float(difference) < 0.05
            assert int(memory.lengths[-1]) == end


def test_other_models_are_left_to_their_own_forward():
    assert not fits(llama(False, "default"))  # float32
    model = llama(False, "default").half()
    assert fits(model)
    model.model.layers[1].mlp.down_proj = torch.nn.Sequential(torch.nn.Linear(160, 96))
    assert not fits(model)


@pytest.mark.parametrize("dtype", DTYPES)
def test_attention_in_place_is_that_of_each_sequence_alone(dtype: torch.dtype):
    """Sequences whose keys lie scattered: one goes on by a token, one by three, one has just come; and padding."""
    from elysia_chat.llm.gpu.paged_attention import attend_in_place

    torch.manual_seed(0)
    heads, kv_heads, size, rows = 6, 2, 16, 400
    lengths, new = (150, 70, 5), (1, 3, 5)
    keys, values = torch.randn((2, rows, kv_heads, size), device=DEVICE).to(dtype)
    query = torch.randn((sum(new) + 2, heads, size), device=DEVICE).to(dtype)
    read_index = torch.randperm(rows, device=DEVICE)[: sum(lengths)]
    ends = [torch.tensor([0, *counts]).cumsum(0).to(DEVICE, torch.int32) for counts in (new, lengths)]
    padded = torch.cat([read_index, torch.zeros(50, dtype=torch.long, device=DEVICE)])
    out = attend_in_place(query, keys, values, padded, *ends, size**-0.5)
    first = 0
    for length, count, index in zip(lengths, new, read_index.split(lengths), strict=True):
        for number in range(count):
            past = index[: length - count + number + 1]
            shared = heads // kv_heads
            key, value = (part[past].float().repeat_interleave(shared, dim=1) for part in (keys, values))
            weights = (torch.einsum("hd,khd->hk", query[first + number].float(), key) * size**-0.5).softmax(dim=-1)
            expected = torch.einsum("hk,khd->hd", weights, value)
            assert torch.allclose(out[first + number].float(), expected, atol=0.01)
        first += count
    assert not out[sum(new) :].any()
