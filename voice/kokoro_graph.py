"""Rewrites Kokoro's quantised graph so that its convolutions are products of matrices.

onnxruntime has kernels for 8-bit products that use a processor's own instructions (VNNI, AMX), but computes ConvInteger
without them, several times slower. A one-dimensional convolution is the product of its kernel with the
input's shifted copies side by side, so each ConvInteger becomes Transpose, Pad, Slice, Concat and MatMulInteger. The
weights stay the same 8-bit numbers; the bias, which was rounded to whole steps of the product, is added unrounded.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

_SWAP = [0, 2, 1]
_TO_THE_END = np.iinfo(np.int64).max


class GraphError(ValueError):
    """A convolution is not of the form that this knows."""


@dataclass
class _Convolution:
    """A ConvInteger with what follows it, up to its result in floating point."""

    node: Any
    bias: str | None
    scale: str
    result: Any


def convolutions_to_products(model: Any) -> int:
    """Rewrite a model in place and return how many convolutions were rewritten.

    Args:
        model: an `onnx.ModelProto` as onnxruntime's dynamic quantisation writes it, convolutions one-dimensional and
            without groups.

    Raises:
        GraphError: a convolution has another form.
    """
    graph = _Graph(model)
    found = [graph.convolution(node) for node in graph.nodes if node.op_type == "ConvInteger"]
    in_place_of = {id(one.result): one for one in found}
    nodes: list[Any] = []
    for node in graph.nodes:
        convolution = in_place_of.get(id(node))
        nodes += [node] if convolution is None else graph.product(convolution)
    graph.replace_nodes(nodes)
    return len(found)


class _Graph:
    """A model's graph with its connections."""

    def __init__(self, model: Any) -> None:
        self._graph = model.graph
        self.nodes: list[Any] = list(model.graph.node)
        self._tensors = {tensor.name: tensor for tensor in model.graph.initializer}
        self._makers = {name: node for node in self.nodes for name in node.output}
        self._users: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def convolution(self, node: Any) -> _Convolution:
        """Return a ConvInteger with its bias, its scale, and the node that gives its result."""
        following, bias = self._only_user(node), None
        if following.op_type == "Add":
            made = self._makers[following.input[1]]
            while made.op_type in ("Reshape", "Cast", "Floor"):
                made = self._makers[made.input[0]]
            bias = made.input[0]
            if made.op_type != "Div" or bias not in self._tensors:
                raise GraphError(f"the bias of {node.name}")  # noqa: EM102
            following = self._only_user(following)
        result = self._only_user(following)
        if (following.op_type, result.op_type) != ("Cast", "Mul"):
            raise GraphError(f"what follows {node.name}")  # noqa: EM102
        scale = next(name for name in result.input if name != following.output[0])
        return _Convolution(node, bias, scale, result)

    def product(self, convolution: _Convolution) -> list[Any]:
        """Return the nodes that compute a convolution as a product of matrices."""
        from onnx import TensorProto, helper

        node, base = convolution.node, f"{convolution.node.output[0]}/product"
        data, kernel, data_zero, kernel_zero = node.input
        made: list[Any] = []

        def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
            made.append(helper.make_node(operator, inputs, [f"{base}/{name}"], **attributes))
            return f"{base}/{name}"

        matrix, zero = self._as_matrix(base, kernel, kernel_zero)
        columns = add("Transpose", [data], "rows", perm=_SWAP)
        for operator, inputs, name, attributes in self._columns(node, base, columns, data_zero):
            columns = add(operator, inputs, name, **attributes)
        product = add("MatMulInteger", [columns, matrix, data_zero, zero], "whole")
        product = add("Cast", [product], "float", to=TensorProto.FLOAT)
        product = add("Mul", [product, convolution.scale], "scaled")
        if convolution.bias is not None:
            product = add("Add", [product, convolution.bias], "biased")
        made.append(helper.make_node("Transpose", [product], list(convolution.result.output), perm=_SWAP))
        return made

    def replace_nodes(self, nodes: list[Any]) -> None:
        """Set the graph's nodes, without those whose results nobody uses, and drop the tensors of those."""
        needed = {output.name for output in self._graph.output}
        kept = []
        for node in reversed(nodes):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        del self._graph.node[:]
        self._graph.node.extend(reversed(kept))
        del self._graph.initializer[:]
        self._graph.initializer.extend(tensor for name, tensor in self._tensors.items() if name in needed)

    def _columns(
        self, node: Any, base: str, rows: str, zero: str
    ) -> Iterator[tuple[str, list[str], str, dict[str, Any]]]:
        """Yield the operators that put the shifted copies of the input side by side."""
        from onnx import helper

        attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
        (size,) = self._array(node.input[1]).shape[2:]
        before, after = attributes.get("pads", (0, 0))
        (step,), (spread,) = attributes.get("strides", [1]), attributes.get("dilations", [1])
        if attributes.get("group", 1) != 1 or attributes.get("auto_pad", b"NOTSET") != b"NOTSET":
            raise GraphError(f"groups or padding of {node.name}")  # noqa: EM102
        if before or after:
            pads = self._constant(f"{base}/pads", [0, before, 0, 0, after, 0])
            yield "Pad", [rows, pads, zero], "padded", {}
            rows = f"{base}/padded"
        if size == step == 1:
            return
        axis, stride = self._constant(f"{base}/axis", [1]), self._constant(f"{base}/step", [step])
        for tap in range(size):
            start = self._constant(f"{base}/start{tap}", [tap * spread])
            end = self._constant(f"{base}/end{tap}", [-(size - 1 - tap) * spread or _TO_THE_END])
            yield "Slice", [rows, start, end, axis, stride], f"tap{tap}", {}
        yield "Concat", [f"{base}/tap{tap}" for tap in range(size)], "columns", {"axis": 2}

    def _as_matrix(self, base: str, kernel: str, zero: str) -> tuple[str, str]:
        """Add a kernel (out, in, size) as a signed matrix (size * in, out), and its zero point; return their names."""
        values, offset = self._array(kernel), self._array(zero)
        if values.dtype != np.uint8 or values.ndim != 3:
            raise GraphError(f"the kernel {kernel}")  # noqa: EM102
        signed = (values.astype(np.int16) - 128).astype(np.int8).transpose(2, 1, 0).reshape(-1, values.shape[0])
        shifted = (offset.astype(np.int16) - 128).astype(np.int8)
        return self._constant(f"{base}/kernel", signed), self._constant(f"{base}/kernel_zero", shifted)

    def _constant(self, name: str, value: Any) -> str:
        from onnx import numpy_helper

        array = np.asarray(value, order="C")
        self._tensors[name] = numpy_helper.from_array(array, name)
        return name

    def _array(self, name: str) -> Any:
        from onnx import numpy_helper

        return numpy_helper.to_array(self._tensors[name])

    def _only_user(self, node: Any) -> Any:
        (user,) = self._users[node.output[0]]
        return user
