"""A small graph with the names of Kokoro's published one."""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

_PLACE, _NAMES = "/decoder/decoder/generator", "decoder.decoder.generator"
CHANNELS, STYLE, BANDS = 8, 4, 11
BLOCKS = {
    "noise_res.0": (4, 7), "noise_res.1": (2, 11),
    **{f"resblocks.{number}": (4 if number < 3 else 2, (3, 7, 11)[number % 3]) for number in range(6)},
}  # fmt: skip


class _Made:
    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.tensors: dict[str, np.ndarray] = {}
        self.random = np.random.default_rng(5)

    def quantised(self, operator: str, place: str, shape: tuple[int, ...], scales: int | None) -> None:
        weight = f"{_PLACE}/{place}_quantized"
        self.tensors[weight] = self.random.integers(0, 256, shape).astype(np.uint8)
        self.tensors[f"{_PLACE}/{place}_scale"] = self.random.uniform(0.01, 0.02, scales or ()).astype(np.float32)
        self.tensors["zero"] = np.array(69, dtype=np.uint8)
        self.nodes.append(helper.make_node(operator, ["xq", weight, "xz", "zero"], [f"{place}/y"], f"{_PLACE}/{place}"))

    def plain(self, operator: str, place: str, shape: tuple[int, ...]) -> None:
        weight = f"{_PLACE}/{place}/weight"
        self.tensors[weight] = self.random.normal(size=shape).astype(np.float32)
        self.nodes.append(helper.make_node(operator, ["x", weight], [f"{place}/y"], f"{_PLACE}/{place}"))

    def own(self, name: str, *shape: int) -> None:
        self.tensors[f"{_NAMES}.{name}"] = self.random.uniform(0.5, 1, shape).astype(np.float32)


def published_graph() -> Any:
    """Return a graph whose parts before the generator double `tokens` and negate `style`; the rest has names alone."""
    made = _Made()
    made.nodes += [
        helper.make_node("Cast", ["tokens"], ["t"], "/encoder/cast", to=TensorProto.FLOAT),
        helper.make_node("Add", ["t", "t"], ["x"], "/encoder/double"),
        helper.make_node("LeakyRelu", ["x"], ["leaky"], f"{_PLACE}/LeakyRelu"),
        helper.make_node("Neg", ["style"], ["negative"], "/encoder/negative"),
        helper.make_node("Squeeze", ["negative"], ["squeezed"], f"{_PLACE}/Squeeze"),
        helper.make_node("DynamicQuantizeLinear", ["leaky"], ["xq", "xs", "xz"], "/quantize"),
    ]
    for number, (width, size) in enumerate(((CHANNELS // 2, 20), (CHANNELS // 4, 12))):
        made.plain("ConvTranspose", f"ups.{number}/ConvTranspose", (2 * width, width, size))
        made.quantised("ConvInteger", f"noise_convs.{number}/Conv_quant", (width, 2 * BANDS, (12, 1)[number]), None)
        made.own(f"ups.{number}.bias", width)
        made.own(f"noise_convs.{number}.bias", width)
    made.plain("Conv", "conv_post/Conv", (2 * BANDS, CHANNELS // 4, 7))
    made.own("conv_post.bias", 2 * BANDS)
    for block, (width, size) in BLOCKS.items():
        for half in (1, 2):
            for pair in range(3):
                made.quantised("ConvInteger", f"{block}/convs{half}.{pair}/Conv_quant", (width, width, size), None)
                made.quantised(
                    "MatMulInteger", f"{block}/adain{half}.{pair}/fc/Gemm_MatMul_quant", (STYLE, 2 * width), 2 * width
                )
                made.own(f"{block}.convs{half}.{pair}.bias", width)
                made.own(f"{block}.adain{half}.{pair}.fc.bias", 2 * width)
                made.own(f"{block}.alpha{half}.{pair}", 1, width, 1)
    graph = helper.make_graph(
        made.nodes,
        "kokoro",
        [
            helper.make_tensor_value_info("tokens", TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info("style", TensorProto.FLOAT, [1, None]),
        ],
        [helper.make_tensor_value_info("leaky", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in made.tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
