"""Low-rank changes: what they add, and what they refuse."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from elysia_chat.kb.errors import EmbeddingModelError
from elysia_chat.kb.factors import FORMAT, add_factors

LAYER = "encoder.layer.0.output.dense"


def factors(folder: Path, tensors: dict[str, torch.Tensor], mark: str = FORMAT) -> Path:
    path = folder / "factors.safetensors"
    save_file(tensors, path, metadata={"format": mark})
    return path


@pytest.mark.parametrize("prefix", ["", "bert."])
def test_the_product_is_added_to_the_weight(tmp_path: Path, prefix: str):
    down, up = torch.randn(2, 6), torch.randn(4, 2)
    state = {f"{prefix}{LAYER}.weight": torch.ones(4, 6), f"{prefix}{LAYER}.bias": torch.ones(4)}
    add_factors(state, factors(tmp_path, {f"{LAYER}.down": down, f"{LAYER}.up": up}))
    assert torch.equal(state[f"{prefix}{LAYER}.weight"], 1.0 + up @ down)
    assert torch.equal(state[f"{prefix}{LAYER}.bias"], torch.ones(4))


def test_whole_modules_take_their_place(tmp_path: Path):
    state = {
        "bert.pooler.dense.bias": torch.zeros(4),
        "classifier.bias": torch.zeros(1),
        f"bert.{LAYER}.weight": torch.ones(4, 6),
    }
    add_factors(state, factors(tmp_path, {"pooler.dense.bias": torch.ones(4), "classifier.bias": torch.ones(1)}))
    assert torch.equal(state["bert.pooler.dense.bias"], torch.ones(4))
    assert torch.equal(state["classifier.bias"], torch.ones(1))
    assert len(state) == 3


def test_another_encoder_is_told(tmp_path: Path):
    path = factors(tmp_path, {f"{LAYER}.down": torch.ones(2, 6), f"{LAYER}.up": torch.ones(4, 2)})
    with pytest.raises(EmbeddingModelError, match="another encoder"):
        add_factors({f"{LAYER}.weight": torch.ones(4, 8)}, path)
    with pytest.raises(EmbeddingModelError, match="another encoder"):
        add_factors({"embeddings.weight": torch.ones(4, 8)}, path)


def test_other_files_are_told(tmp_path: Path):
    with pytest.raises(EmbeddingModelError, match="no file of factors"):
        add_factors({}, factors(tmp_path, {"a": torch.ones(1)}, mark="other"))
    (tmp_path / "cut.safetensors").write_bytes(factors(tmp_path, {"a": torch.ones(400)}).read_bytes()[:90])
    with pytest.raises(EmbeddingModelError, match="cut short"):
        add_factors({}, tmp_path / "cut.safetensors")


@pytest.mark.parametrize(
    "tensors",
    [
        {f"{LAYER}.up": torch.ones(4, 2)},
        {f"{LAYER}.down": torch.ones(2, 6)},
        {f"{LAYER}.down": torch.ones(3, 6), f"{LAYER}.up": torch.ones(4, 2)},
        {f"{LAYER}.bias": torch.ones(5)},
        {"classifier.weight": torch.ones(1, 4)},
    ],
)
def test_what_does_not_fit_changes_nothing(tmp_path: Path, tensors: dict[str, torch.Tensor]):
    state = {f"{LAYER}.weight": torch.ones(4, 6), f"{LAYER}.bias": torch.ones(4), "other.weight": torch.zeros(4, 6)}
    good = {"other.down": torch.ones(2, 6), "other.up": torch.ones(4, 2)}
    with pytest.raises(EmbeddingModelError, match="another encoder"):
        add_factors(state, factors(tmp_path, good | tensors))
    assert torch.equal(state["other.weight"], torch.zeros(4, 6))
    assert set(state) == {f"{LAYER}.weight", f"{LAYER}.bias", "other.weight"}


def test_factors_in_bfloat16_are_multiplied_in_float32(tmp_path: Path):
    down, up = torch.randn(2, 6).bfloat16(), torch.randn(4, 2).bfloat16()
    state = {f"{LAYER}.weight": torch.zeros(4, 6)}
    add_factors(state, factors(tmp_path, {f"{LAYER}.down": down, f"{LAYER}.up": up}))
    assert torch.equal(state[f"{LAYER}.weight"], up.float() @ down.float())
