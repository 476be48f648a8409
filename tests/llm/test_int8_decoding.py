"""8-bit copies of the weights for single tokens."""

from copy import deepcopy

import pytest
import torch
from torch import nn

from elysia_chat.llm.int8_decoding import Int8Linear, decode_in_int8


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_are_computed_with_the_copy_and_many_with_the_weights(dtype: torch.dtype, bias: bool):
    torch.manual_seed(1)
    linear = nn.Linear(64, 96, bias=bias, dtype=dtype).requires_grad_(requires_grad=False)
    fast = Int8Linear(linear)
    for shape in ((64,), (1, 1, 64), (4, 64)):
        rows = torch.randn(shape, dtype=dtype)
        made, wanted = fast(rows), linear(rows)
        assert (made.shape, made.dtype) == (wanted.shape, wanted.dtype)
        assert not torch.equal(made, wanted)
        assert (made - wanted).norm() / wanted.norm() < 0.02
    many = torch.randn(5, 64, dtype=dtype)
    assert torch.equal(fast(many), linear(many))


@pytest.mark.parametrize("rows_at_once", [2, 3, 8192])
def test_each_weight_is_kept_to_half_a_step(rows_at_once: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("elysia_chat.llm.int8_decoding._ROWS_AT_ONCE", rows_at_once)
    linear = nn.Linear(32, 3, bias=False)
    linear.weight.data = torch.randn(3, 32) * torch.tensor([[1e-3], [1], [0]])
    fast = Int8Linear(linear.requires_grad_(requires_grad=False))
    error = (fast.small * fast.scales[:, None] - linear.weight).abs().amax(dim=1)
    assert (error <= linear.weight.abs().amax(dim=1) / 127 * 0.501).all()


def test_the_weights_are_shared_and_saved_once():
    model = nn.ModuleDict({"inner": nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)), "embedding": nn.Embedding(8, 8)})
    model["embedding"].weight = model["inner"][1].weight
    before = deepcopy(model.state_dict())
    decode_in_int8(model)
    assert isinstance(model["inner"][0], Int8Linear)
    assert model["embedding"].weight is model["inner"][1].weight
    assert model.state_dict().keys() == before.keys()
    decode_in_int8(model)
    assert type(model["inner"][0]) is Int8Linear
