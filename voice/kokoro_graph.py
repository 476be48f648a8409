"""Takes Kokoro's published ONNX graph apart: the generator gives its weights, what comes before it stays a graph.

onnxruntime computes the generator's 8-bit convolutions without the processor's 8-bit instructions, and everything
around them in passes of their own; torch takes a fifth of the time (`kokoro_generator`). The weights stay the published
numbers: 8-bit ones times their scale.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

FEATURES, SOURCE = "features", "source"
_PLACE, _NAMES = "/decoder/decoder/generator", "decoder.decoder.generator"
_BLOCKS = ("noise_res.0", "noise_res.1", *(f"resblocks.{number}" for number in range(6)))


class GraphError(ValueError):
    """The graph is not the published one."""


def take_apart(model: Any) -> dict[str, NDArray[np.float32]]:
    """Cut a graph in place in front of the generator, and return the generator's weights.

    The graph's outputs become `FEATURES` and `SOURCE`, in this order.

    Args:
        model: an `onnx.ModelProto`.

    Returns:
        Weights by their names in `kokoro_generator.Generator`.

    Raises:
        GraphError: a part of the generator is not where the published graph has it.
    """
    graph = _Graph(model.graph)
    try:
        weights = {name: np.ascontiguousarray(value, np.float32) for name, value in _weights(graph)}
        graph.end_at({FEATURES: graph.node("LeakyRelu").input[0], SOURCE: graph.node("Squeeze").output[0]})
    except KeyError as error:
        raise GraphError(str(error.args[0])) from error
    return weights


class _Graph:
    """A graph with its nodes and tensors by name."""

    def __init__(self, graph: Any) -> None:
        self._graph = graph
        self._nodes = {node.name: node for node in graph.node}
        self._tensors = {tensor.name: tensor for tensor in graph.initializer}

    def node(self, name: str) -> Any:
        """Return a node of the generator."""
        return self._nodes[f"{_PLACE}/{name}"]

    def array(self, name: str) -> NDArray[Any]:
        """Return a tensor by its whole name."""
        from onnx import numpy_helper

        return np.asarray(numpy_helper.to_array(self._tensors[name]))

    def own(self, name: str) -> NDArray[Any]:
        """Return a tensor of the generator."""
        return self.array(f"{_NAMES}.{name}")

    def product(self, name: str) -> NDArray[Any]:
        """Return the weight of an 8-bit product or convolution of the generator, in floating point."""
        _, weight, _, zero = self.node(name).input
        whole = self.array(weight).astype(np.float32) - self.array(zero).astype(np.float32)
        return np.asarray(whole * self.array(weight.removesuffix("_quantized") + "_scale"))

    def end_at(self, outputs: dict[str, str]) -> None:
        """Make these values the graph's outputs, under new names, and drop what is not needed for them."""
        from onnx import TensorProto, helper

        ends = [helper.make_node("Identity", [value], [name]) for name, value in outputs.items()]
        needed, kept = set(outputs), []
        for node in reversed([*self._graph.node, *ends]):
            if needed.intersection(node.output):
                kept.append(node)
                needed.update(node.input)
        tensors = [tensor for name, tensor in self._tensors.items() if name in needed]
        for field in (self._graph.node, self._graph.initializer, self._graph.output, self._graph.value_info):
            del field[:]
        self._graph.node.extend(reversed(kept))
        self._graph.initializer.extend(tensors)
        self._graph.output.extend(helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs)


def _weights(graph: _Graph) -> Iterator[tuple[str, NDArray[Any]]]:
    for number in range(2):
        up, noise = f"ups.{number}", f"noise_convs.{number}"
        yield f"{up}.weight", _image(graph.array(graph.node(f"{up}/ConvTranspose").input[1]))
        yield f"{noise}.weight", _image(graph.product(f"{noise}/Conv_quant"))
        for name in (up, noise):
            yield f"{name}.bias", graph.own(f"{name}.bias")
    yield "conv_post.weight", _image(graph.array(graph.node("conv_post/Conv").input[1]))
    yield "conv_post.bias", graph.own("conv_post.bias")
    for block in _BLOCKS:
        for half in (1, 2):
            for pair in range(3):
                convolution, style = f"{block}.convs{half}.{pair}", f"{block}.adain{half}.{pair}"
                yield f"{convolution}.weight", _image(graph.product(f"{block}/convs{half}.{pair}/Conv_quant"))
                yield f"{convolution}.bias", graph.own(f"{convolution}.bias")
                yield f"{style}.fc.weight", graph.product(f"{block}/adain{half}.{pair}/fc/Gemm_MatMul_quant").T
                yield f"{style}.fc.bias", graph.own(f"{style}.fc.bias")
                yield f"{style}.alpha", graph.own(f"{block}.alpha{half}.{pair}").reshape(-1)


def _image(kernel: NDArray[Any]) -> NDArray[Any]:
    """Return a kernel over time (out, in, size) as one over images of height 1."""
    return kernel[:, :, None]
