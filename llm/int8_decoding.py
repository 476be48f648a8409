"""Token after token with 8-bit weights on a CPU, while prompts are computed with the weights as they are.

A token takes as long as the weights take to be read: one byte of each instead of two is half the time. A prompt's many
tokens share one reading, and a CPU with matrix units computes them faster in bfloat16.
"""

from typing import Any

import torch
from torch import Tensor, nn

# From about eight tokens on, torch's 8-bit product is slower than bfloat16's.
_MOST_ROWS = 4
# Of a vocabulary's 262,144 rows, whose copies in float32 would take a gigabyte while they are made.
_ROWS_AT_ONCE = 8192


class Int8Linear(nn.Linear):
    """A linear layer with a second copy of its weights, a byte each, for few rows at a time.

    Each row of the weights has a scale of its own, in their number format: a weight is off by half a 127th of its
    row's largest one, and in bfloat16 by 0.2 % of itself besides, at most.

    Args:
        linear: the layer whose weights it shares.
    """

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__(linear.in_features, linear.out_features, bias=False, device="meta")
        self.weight, self.bias = linear.weight, linear.bias
        weight = linear.weight.detach()
        small = torch.empty_like(weight, dtype=torch.int8)
        scales = torch.empty_like(weight[:, 0])
        for begin in range(0, len(weight), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            whole = weight[part].float()
            steps = whole.abs().amax(dim=1, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / 127
            small[part], scales[part] = (whole / steps).round(), steps[:, 0]
        self.register_buffer("small", small, persistent=False)
        self.register_buffer("scales", scales, persistent=False)

    def forward(self, input: Tensor) -> Tensor:
        """Return the product, of shape (..., out_features)."""
        rows = input.reshape(-1, self.in_features)
        if len(rows) > _MOST_ROWS:
            return super().forward(input)
        made: Tensor = torch.ops.aten._weight_int8pack_mm(rows, self.small, self.scales)
        if self.bias is not None:
            made = made + self.bias
        return made.reshape(*input.shape[:-1], self.out_features)


def decode_in_int8(model: Any) -> None:
    """Put an `Int8Linear` in the place of each linear layer of a model on the CPU; embeddings stay as they are."""
    layers = [
        (parent, name, layer)
        for parent in model.modules()
        for name, layer in parent.named_children()
        if type(layer) is nn.Linear
    ]
    for parent, name, layer in layers:
        setattr(parent, name, Int8Linear(layer))
