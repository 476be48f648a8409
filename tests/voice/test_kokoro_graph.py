"""The published graph taken apart."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import numpy_helper

from elysia_chat.voice.kokoro_generator import Generator
from elysia_chat.voice.kokoro_graph import GraphError, take_apart
from elysia_chat.voice.kokoro_network import session_options
from tests.voice.kokoro_graphs import CHANNELS, STYLE, published_graph


def test_the_generator_takes_the_weights():
    weights = take_apart(published_graph())
    generator = Generator(channels=CHANNELS, style=STYLE)
    generator.load_state_dict({name: torch.tensor(array) for name, array in weights.items()})


def test_8_bit_weights_are_dequantised():
    model = published_graph()
    tensors = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    weights = take_apart(model)
    place = "/decoder/decoder/generator/resblocks.4"
    kernel = tensors[f"{place}/convs2.1/Conv_quant_quantized"].astype(float) - 69
    scale = tensors[f"{place}/convs2.1/Conv_quant_scale"]
    np.testing.assert_allclose(weights["resblocks.4.convs2.1.weight"][:, :, 0], kernel * scale, rtol=1e-6)
    style = tensors[f"{place}/adain1.0/fc/Gemm_MatMul_quant_quantized"].astype(float) - 69
    scale = tensors[f"{place}/adain1.0/fc/Gemm_MatMul_quant_scale"]
    np.testing.assert_allclose(weights["resblocks.4.adain1.0.fc.weight"], (style * scale).T, rtol=1e-6)


def test_what_is_left_ends_before_the_generator():
    model = published_graph()
    take_apart(model)
    assert {node.op_type for node in model.graph.node} == {"Cast", "Add", "Neg", "Squeeze", "Identity"}
    assert list(model.graph.initializer) == []
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), session_options(threads=1), providers=["CPUExecutionProvider"]
    )
    tokens, style = np.array([[1, 2, 3]]), np.array([[0.5, -1]], dtype=np.float32)
    features, source = session.run(None, {"tokens": tokens, "style": style})
    assert [output.name for output in session.get_outputs()] == ["features", "source"]
    np.testing.assert_array_equal(features, [[2, 4, 6]])
    np.testing.assert_array_equal(source, [-0.5, 1])


def test_another_graph():
    model = published_graph()
    for node in model.graph.node:
        node.name = node.name.replace("resblocks.5/convs1.2", "elsewhere")
    with pytest.raises(GraphError, match=r"resblocks\.5/convs1\.2"):
        take_apart(model)
