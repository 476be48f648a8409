"""A rewritten graph computes what the original computes."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from elysia_chat.voice.kokoro import session_options
from elysia_chat.voice.kokoro_graph import GraphError, convolutions_to_products


def quantised_convolution(
    *, inputs: int = 6, outputs: int = 5, size: int = 3, pads: tuple[int, int] = (1, 1), step: int = 1, spread: int = 1,
    bias: bool = True, **attributes: Any,
) -> Any:  # fmt: skip
    """A graph of one convolution, as onnxruntime's dynamic quantisation writes it."""
    random = np.random.default_rng(3)
    tensors = {
        "w": random.integers(0, 256, (outputs, inputs, size)).astype(np.uint8),
        "wz": np.array(69, dtype=np.uint8),
        "ws": np.array(0.004, dtype=np.float32),
        "b": random.normal(size=outputs).astype(np.float32),
        "shape": np.array([1, -1, 1]),
        "unused": np.zeros(3, dtype=np.float32),
    }
    make = helper.make_node
    nodes = [
        make("DynamicQuantizeLinear", ["x"], ["xq", "xs", "xz"]),
        make("Mul", ["xs", "ws"], ["scale"]),
        make("ConvInteger", ["xq", "w", "xz", "wz"], ["q"], kernel_shape=[size], pads=pads, strides=[step],
             dilations=[spread], **attributes),
        make("Div", ["b", "scale"], ["b1"]),
        make("Floor", ["b1"], ["b2"]),
        make("Cast", ["b2"], ["b3"], to=TensorProto.INT32),
        make("Reshape", ["b3", "shape"], ["b4"]),
        make("Add", ["q", "b4"], ["q2"]),
        make("Cast", ["q2" if bias else "q"], ["f"], to=TensorProto.FLOAT),
        make("Mul", ["f", "scale"], ["y"]),
    ]  # fmt: skip
    if not bias:
        nodes = [node for node in nodes if not {"b1", "b2", "b3", "b4", "q2"} & set(node.output)]
    graph = helper.make_graph(
        nodes,
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, inputs, None])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, outputs, None])],
        [numpy_helper.from_array(array, name) for name, array in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


def computed(model: Any, data: np.ndarray) -> np.ndarray:
    options = session_options(threads=1)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": data})[0])


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"size": 1, "pads": (0, 0)},
        {"size": 11, "pads": (15, 15), "spread": 3},
        {"size": 3, "pads": (1, 1), "step": 2},
        {"size": 12, "pads": (3, 3), "step": 6},
        {"size": 5, "pads": (2, 0)},
        {"size": 4, "pads": (0, 0), "step": 3},
    ],
)
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("length", [40, 41])
def test_the_same_result(form: dict[str, Any], bias: bool, length: int):
    model = quantised_convolution(bias=bias, **form)
    data = np.random.default_rng(length).normal(size=(1, 6, length)).astype(np.float32)
    wanted = computed(model, data)
    assert convolutions_to_products(model) == 1
    assert "ConvInteger" not in {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model)
    # The original rounds its bias down to whole steps of the product.
    step = 0.004 * float(max(data.max(), 0) - min(data.min(), 0)) / 255
    got = computed(model, data)
    assert got.shape == wanted.shape
    assert got == pytest.approx(wanted, abs=1.01 * step if bias else 1e-5)


def test_what_nobody_uses_is_dropped():
    model = quantised_convolution()
    convolutions_to_products(model)
    names = {tensor.name for tensor in model.graph.initializer}
    assert not {"w", "wz", "unused", "shape"} & names


def test_other_forms_are_refused():
    with pytest.raises(GraphError, match="groups"):
        convolutions_to_products(quantised_convolution(group=2, inputs=6, outputs=6))
