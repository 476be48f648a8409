"""The tensors of VITS under the names of its implementations, and fitting one's tensors into another.

The original VITS and Piper, which comes from it, share their names; coqui-tts has others. Two things differ besides:
the original counts the parameterless flips among its flows, and a convolution with weight normalisation may be stored
as magnitude and direction (two ways of naming those) or folded into one weight.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

_PARTS = (
    (r"^enc_p\.", "text_encoder."),
    (r"^enc_q\.", "posterior_encoder."),
    (r"^dec\.cond\.", "waveform_decoder.cond_layer."),
    (r"^dec\.", "waveform_decoder."),
    (r"^dp\.", "duration_predictor."),
    (r"^(duration_predictor\.(?:post_)?flows\.0)\.m$", r"\1.translation"),
    (r"^(duration_predictor\.(?:post_)?flows\.0)\.logs$", r"\1.log_scale"),
)
_FLOW = re.compile(r"^(flow\.flows|duration_predictor\.(?:post_)?flows)\.(\d+)\.")
_MAGNITUDE, _DIRECTION = ".parametrizations.weight.original0", ".parametrizations.weight.original1"
# Training alone uses these; Piper's export and slimmed checkpoints leave them out.
_TRAINING_ONLY = re.compile(r"^(posterior_encoder\.|duration_predictor\.post_|disc\.)")
# The original leaves out this flow of the duration predictor when it speaks, and so does an export.
_UNUSED_FLOW = re.compile(r"^duration_predictor\.flows\.1\.")


def coqui_name(name: str) -> str:
    """Return coqui's name of a tensor of the original VITS."""
    for pattern, replacement in _PARTS:
        name = re.sub(pattern, replacement, name)
    found = _FLOW.match(name)
    if found:
        number = int(found[2])
        # Flips stand at odd places among the coupling layers, at even ones (after the first) in the duration predictor.
        place = number // 2 if found[1] == "flow.flows" else (number + 1) // 2
        name = f"{found[1]}.{place}.{name[found.end() :]}"
    if name.endswith(".weight_g"):
        return name.removesuffix(".weight_g") + _MAGNITUDE
    if name.endswith(".weight_v"):
        return name.removesuffix(".weight_v") + _DIRECTION
    return name


@dataclass(frozen=True)
class Fitted:
    """Tensors brought into a model's form.

    Attributes:
        state: every tensor of the model: the given ones, and its own where none was given.
        missing: names of the model that were not given and that speaking needs.
        unknown: names that the model does not have.
        misshapen: names given in another shape.
    """

    state: dict[str, "torch.Tensor"]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]
    misshapen: tuple[str, ...]


def fit(given: Mapping[str, "torch.Tensor"], model: Mapping[str, "torch.Tensor"]) -> Fitted:
    """Fit tensors under coqui's names into the tensors of a model.

    Args:
        given: tensors; folded weights are taken apart where the model has weight normalisation, and the reverse.
        model: the model's own, which stay where nothing is given.
    """
    state, unknown, misshapen = dict(model), [], []
    filled = set()
    for name, tensor in _as_in(given, model).items():
        if name not in model:
            unknown.append(name)
        elif _flat(model[name]) != _flat(tensor):
            misshapen.append(name)
        else:
            state[name] = tensor.float().reshape(model[name].shape)
            filled.add(name)
    missing = [name for name in model if name not in filled and not trains_only(name) and name not in misshapen]
    return Fitted(state, tuple(missing), tuple(unknown), tuple(misshapen))


def trains_only(name: str) -> bool:
    """Return whether a tensor, by coqui's name, has no part in speaking."""
    return bool(_TRAINING_ONLY.match(name) or _UNUSED_FLOW.match(name))


def count(names: Iterable[str], pattern: str) -> int:
    """Return how many different numbers stand in the one group of a pattern: how many layers there are."""
    return len({found[1] for name in names if (found := re.match(pattern, name))})


def _as_in(given: Mapping[str, "torch.Tensor"], model: Mapping[str, "torch.Tensor"]) -> dict[str, "torch.Tensor"]:
    made = {}
    for name, tensor in given.items():
        stem = name.removesuffix(".weight")
        if name not in model and stem + _DIRECTION in model:
            made[stem + _DIRECTION] = tensor
            made[stem + _MAGNITUDE] = _norms(tensor)
        elif name.endswith(_DIRECTION) and name not in model:
            stem = name.removesuffix(_DIRECTION)
            made[f"{stem}.weight"] = tensor * (given[stem + _MAGNITUDE] / _norms(tensor))
        elif not (name.endswith(_MAGNITUDE) and name not in model):
            made[name] = tensor
    return made


def _flat(tensor: "torch.Tensor") -> list[int]:
    """Return a shape without its ones, in which the implementations differ."""
    return [size for size in tensor.shape if size != 1]


def _norms(weight: "torch.Tensor") -> "torch.Tensor":
    """Return the norm of each slice along the first axis, shape (n, 1, 1)."""
    norms: torch.Tensor = weight.flatten(1).norm(dim=1)
    return norms.view(-1, *[1] * (weight.dim() - 1))
