"""One token of a Llama on a GPU, from its id to the logits of the next, in five kernels a layer.

transformers' own forward takes some fifty kernels a layer, most of which last shorter than their launch, and copies
keys and values for each group of heads. Here each weight is read once, at nearly the speed of the memory. InternLM2 is
a Llama too, once it has been brought in.
"""

from typing import Any

import torch

from elysia_chat.llm.gpu.key_values import KeyValues

_SPLITS = 16
_TOKENS = 64
# The least number of rows that the GPU's matrix units take.
_LEAST_GROUP = 16


def fits(model: Any) -> bool:
    """Tell whether a model can be computed here: a Llama in 16 bits, neither quantised nor with adapters beside it."""
    from transformers import LlamaForCausalLM

    if type(model) is not LlamaForCausalLM or model.config.hidden_act != "silu" or model.config.mlp_bias:
        return False
    if any(type(part) is not torch.nn.Linear for part in _projections(model)):
        return False
    head = model.model.layers[0].self_attn.head_dim
    return head & (head - 1) == 0 and model.dtype in (torch.bfloat16, torch.float16)


def kernel_error() -> type[Exception]:
    """Return what Triton raises where a kernel cannot be built; an ImportError where Triton itself is not there."""
    try:
        from triton.errors import TritonError
    except ImportError:
        return ImportError
    found: type[Exception] = TritonError
    return found


class LlamaStep:
    """Computes one token at a time, with fixed tensors throughout, so that it can be captured as a CUDA graph.

    Query, key and value matrices are laid one upon the other in memory, and gate and up likewise; the model's own
    parameters become views of them.

    Args:
        model: for which `fits` is true.
        memory: where keys and values are kept.

    Attributes:
        tokens: the one to compute, shape (1, 1).
        last: which of them the logits come after: the first.
        logits: shape (1, vocabulary), float32.
    """

    def __init__(self, model: Any, memory: KeyValues) -> None:
        config, device, dtype = model.config, model.device, model.dtype
        attention = model.model.layers[0].self_attn
        self._memory = memory
        self._eps = float(config.rms_norm_eps)
        self._scale = float(attention.scaling)
        self._heads, self._kv_heads = int(config.num_attention_heads), int(config.num_key_value_heads)
        self._head = int(attention.head_dim)
        self._group = max(_LEAST_GROUP, _power_of_two(self._heads // self._kv_heads))
        self._layers = [_Layer(layer) for layer in model.model.layers]
        self._embeddings = model.model.embed_tokens.weight
        self._gain, self._output = model.model.norm.weight, model.lm_head.weight
        positions = torch.arange(memory.capacity, device=device)[None]
        probe = torch.empty(1, device=device, dtype=torch.float32)
        self._cosines, self._sines = (table[0].contiguous() for table in model.model.rotary_emb(probe, positions))
        self.tokens = torch.zeros((1, 1), dtype=torch.long, device=device)
        self.last = torch.zeros(1, dtype=torch.long, device=device)
        self.logits = torch.empty((1, self._output.shape[0]), dtype=torch.float32, device=device)
        size = config.hidden_size
        self._residuals = torch.empty((2, size), dtype=dtype, device=device)
        self._qkv = torch.empty((self._heads + 2 * self._kv_heads) * self._head, dtype=dtype, device=device)
        self._attended = torch.empty(self._heads * self._head, dtype=dtype, device=device)
        self._inner = torch.empty(config.intermediate_size, dtype=dtype, device=device)
        parts = (self._kv_heads, _SPLITS, self._group)
        self._tops, self._sums = torch.empty((2, *parts), dtype=torch.float32, device=device)
        self._parts = torch.empty((*parts, self._head), dtype=torch.float32, device=device)

    def __call__(self) -> None:
        """Compute `logits` from `tokens`, and count it among those that the memory holds."""
        here, there = self._residuals
        torch.index_select(self._embeddings, 0, self.tokens[0], out=here[None])
        for number, layer in enumerate(self._layers):
            self._project(here, layer.qkv, self._qkv, gain=layer.before_attention, bias=layer.qkv_bias)
            self._attend(number)
            self._project(self._attended, layer.output, there, bias=layer.output_bias, residual=here)
            self._gate(there, layer)
            self._project(self._inner, layer.down, here, residual=there)
        self._project(here, self._output, self.logits[0], gain=self._gain)
        self._memory.lengths.add_(1)

    def _project(
        self,
        vector: torch.Tensor,
        weight: torch.Tensor,
        out: torch.Tensor,
        gain: torch.Tensor | None = None,
        bias: torch.Tensor | None = None,
        residual: torch.Tensor | None = None,
    ) -> None:
        from elysia_chat.llm.gpu.matvec_kernels import project

        rows, columns = weight.shape
        # A kernel takes a pointer for everything; what is switched off is not read.
        given = [weight if one is None else one for one in (gain, bias, residual)]
        project[lambda tile: (-(-rows // tile["BLOCK_N"]),)](
            vector, given[0], weight, given[1], given[2], out, rows, columns, self._eps,
            NORM=gain is not None, BIAS=bias is not None, RESIDUAL=residual is not None,
        )  # fmt: skip

    def _gate(self, vector: torch.Tensor, layer: "_Layer") -> None:
        from elysia_chat.llm.gpu.matvec_kernels import gated

        rows, columns = layer.gate_up.shape[0] // 2, layer.gate_up.shape[1]
        gated[lambda tile: (-(-rows // tile["BLOCK_N"]),)](
            vector, layer.before_mlp, layer.gate_up, self._inner, rows, columns, self._eps
        )

    def _attend(self, number: int) -> None:
        from elysia_chat.llm.gpu.attention_kernels import attend_part, join_parts

        keys, values = self._memory.layers[number]
        sizes = {"HEADS": self._heads, "KV_HEADS": self._kv_heads, "HEAD": self._head, "GROUP": self._group}
        attend_part[(self._kv_heads, _SPLITS)](
            self._qkv, self._cosines, self._sines, keys, values, self._memory.lengths, self._tops, self._sums,
            self._parts, self._memory.capacity, self._scale, **sizes, SPLITS=_SPLITS, BLOCK=_TOKENS,
        )  # fmt: skip
        join_parts[(1, self._heads)](self._tops, self._sums, self._parts, self._attended, **sizes, SPLITS=_SPLITS)


class _Layer:
    """The weights of a layer, those that are applied to the same vector joined."""

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        queries = (attention.q_proj, attention.k_proj, attention.v_proj)
        self.qkv = _joined([part.weight for part in queries])
        self.qkv_bias = None if queries[0].bias is None else _joined([part.bias for part in queries])
        self.output, self.output_bias = attention.o_proj.weight, attention.o_proj.bias
        self.gate_up = _joined([mlp.gate_proj.weight, mlp.up_proj.weight])
        self.down = mlp.down_proj.weight
        self.before_attention = layer.input_layernorm.weight
        self.before_mlp = layer.post_attention_layernorm.weight


def _joined(parameters: list[Any]) -> torch.Tensor:
    """Lay parameters one upon the other in new memory, and make them views of it."""
    whole = torch.cat([parameter.data for parameter in parameters])
    for parameter, part in zip(parameters, whole.split([len(parameter) for parameter in parameters]), strict=True):
        parameter.data = part
    return whole


def _projections(model: Any) -> list[Any]:
    attention = ("q_proj", "k_proj", "v_proj", "o_proj")
    mlp = ("gate_proj", "up_proj", "down_proj")
    layers = model.model.layers
    return [
        model.lm_head,
        *(getattr(layer.self_attn, name) for layer in layers for name in attention),
        *(getattr(layer.mlp, name) for layer in layers for name in mlp),
    ]


def _power_of_two(number: int) -> int:
    return 1 << (number - 1).bit_length()
