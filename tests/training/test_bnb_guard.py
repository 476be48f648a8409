"""Training on 4-bit weights after an evaluation.

The defect: on CPUs with AVX512-BF16 an evaluation repacks the weights, and the gradients of all later steps are wrong.
A check of the loss alone misses it, since the evaluation's own results are right, and so does a check of gradients
before the first evaluation. The gradient after one is compared with that of a twin with the same weights in float32.
"""

from typing import Any

import pytest
import torch
from torch import nn

bnb = pytest.importorskip("bitsandbytes")

from bitsandbytes.nn import modules  # noqa: E402

from elysia_chat.training.bnb_guard import guard_bitsandbytes, guard_layers  # noqa: E402
from elysia_chat.training.errors import PresetError  # noqa: E402

_IS_AFFECTED = modules.has_avx512bf16()


@pytest.fixture(autouse=True)
def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "has_avx512bf16", bnb.functional.has_avx512bf16)


class Residual(nn.Sequential):
    """Adds each layer to its input, as a language model does: some gradient flows even past a broken layer."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        for layer in self:
            inputs = inputs + layer(inputs)
        return inputs


def two_layers() -> Residual:
    """Return 4-bit layers whose weights are frozen, as under an adapter."""
    torch.manual_seed(0)
    dense = [nn.Linear(128, 128, bias=False), nn.Linear(128, 128, bias=False)]
    layers: list[nn.Module] = []
    for layer in dense:
        packed = bnb.nn.Linear4bit(128, 128, bias=False, compute_dtype=torch.float32, quant_type="nf4")
        packed.load_state_dict(layer.state_dict())
        layers.append(packed)
    return Residual(*layers).to("cpu")


def twin(model: Residual) -> Residual:
    layers = []
    for layer in model:
        dense = nn.Linear(128, 128, bias=False)
        dense.weight.data = bnb.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
        layers.append(dense)
    return Residual(*layers)


def input_gradient(model: nn.Module) -> torch.Tensor:
    torch.manual_seed(1)
    inputs = torch.randn(8, 128, requires_grad=True)
    model.train()(inputs).square().sum().backward()
    assert inputs.grad is not None
    return inputs.grad


def evaluate(model: nn.Module) -> None:
    with torch.no_grad():
        model.eval()(torch.randn(8, 128))


def error_after_an_evaluation(model: Residual) -> float:
    wanted = input_gradient(twin(model))
    evaluate(model)
    return float((input_gradient(model) - wanted).norm() / wanted.norm())


def test_gradients_after_an_evaluation_are_right() -> None:
    guard_bitsandbytes()
    assert error_after_an_evaluation(two_layers()) < 1e-4


def test_layers_built_before_the_guard_are_mended() -> None:
    model = two_layers()
    guard_layers(model)
    assert error_after_an_evaluation(model) < 1e-4


@pytest.mark.skipif(not _IS_AFFECTED, reason="this CPU has no AVX512-BF16: bitsandbytes does not repack on it")
def test_repacked_layers_are_refused() -> None:
    model = two_layers()
    evaluate(model)
    with pytest.raises(PresetError, match="weights of 0 were repacked"):
        guard_layers(model)


@pytest.mark.skipif(not _IS_AFFECTED, reason="this CPU has no AVX512-BF16: bitsandbytes does not repack on it")
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_defect_is_still_there_without_the_guard() -> None:
    assert error_after_an_evaluation(two_layers()) > 0.5, "bitsandbytes is mended: the guard can go"


def test_an_unknown_bitsandbytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(modules, "has_avx512bf16")
    with pytest.raises(PresetError, match=r"bitsandbytes==0\.50\.2"):
        guard_bitsandbytes()


def test_the_guard_can_be_set_twice() -> None:
    guard_bitsandbytes()
    guard_bitsandbytes()
    checked: Any = modules.has_avx512bf16
    assert checked() is False
