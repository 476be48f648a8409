"""Kokoro's two parts as one network: onnxruntime up to the generator, torch from there on."""

import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.configs.processor import is_fast_with_bfloat16
from elysia_chat.voice.errors import SynthesisError, VoicePackageError
from elysia_chat.voice.kokoro_weights import GENERATOR_FILE, GRAPH_FILE
from elysia_chat.voice.threads import limit_threads

if TYPE_CHECKING:
    from elysia_chat.voice.kokoro_generator import Generator


class KokoroNetwork:
    """Computes the sound of phonemes.

    Args:
        session: the onnxruntime session of the first part.
        generator: the second part.
        threads: how many the second part may use; the session has its own.
    """

    def __init__(self, session: Any, generator: "Generator", threads: int) -> None:
        self._session, self._generator, self._threads = session, generator, threads
        self._computing = threading.Lock()

    def wave(self, symbols: list[int], style: NDArray[np.float32], speed: float) -> NDArray[np.float32]:
        """Return the sound.

        Args:
            symbols: numbers of phonemes and punctuation.
            style: of the voice, float32 of shape (1, 256): of the sound first, of the rhythm after.
            speed: 2 takes half as long.

        Returns:
            float32 samples at 24 kHz.

        Raises:
            SynthesisError: the network failed.
        """
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        feed = {
            "tokens": np.array([[0, *symbols, 0]], dtype=np.int64),
            "style": style,
            "speed": np.array([speed], dtype=np.float32),
        }
        try:
            features, source = self._session.run(None, feed)
            return self._generate(features, source, style)
        except (errors.Fail, errors.InvalidArgument, errors.RuntimeException, RuntimeError, ValueError) as error:
            msg = f"The Mandarin voice failed on a sentence: {str(error).splitlines()[0]}"
            raise SynthesisError(msg) from error

    def _generate(self, features: Any, source: Any, style: NDArray[np.float32]) -> NDArray[np.float32]:
        import torch

        first, second, third = (torch.from_numpy(np.array(part)) for part in (features, source, style))
        with self._computing, torch.inference_mode(), limit_threads(self._threads):
            made = self._generator(first, second.reshape(1, -1), third[:, : self._generator.style_size])
        return np.asarray(made.numpy())


@lru_cache(maxsize=1)
def load_network(folder: Path, threads: int) -> KokoroNetwork:
    """Return the network that all voices of a converted model share.

    Raises:
        VoicePackageError: a file is damaged.
    """
    import onnxruntime
    import torch
    from onnxruntime.capi import onnxruntime_pybind11_state as errors
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from elysia_chat.voice.kokoro_generator import load_generator

    damage = (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.NoSuchFile)
    options, providers = session_options(threads), ["CPUExecutionProvider"]
    try:
        session = onnxruntime.InferenceSession(folder / GRAPH_FILE, options, providers=providers)
        weights = load_file(folder / GENERATOR_FILE)
        generator = load_generator(weights, torch.bfloat16 if is_fast_with_bfloat16() else torch.float32)
    except (*damage, SafetensorError, RuntimeError, OSError) as error:
        msg = f"The Mandarin voice in {folder} cannot be read: delete the folder, and it is made again."
        raise VoicePackageError(msg) from error
    return KokoroNetwork(session, generator, threads)


def session_options(threads: int) -> Any:
    """Return how onnxruntime is to compute: with so many threads, quietly, and without overflow."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # A thread that waits must not keep a core from the language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if products_saturate():
        options.add_session_config_entry("session.x64quantprecision", "1")
    return options


@lru_cache(maxsize=1)
def products_saturate() -> bool:
    """Tell whether onnxruntime's fast 8-bit products overflow here, as they do on x86 processors without VNNI.

    There its slower kernels have to be asked for; elsewhere they would only cost time.
    """
    import onnxruntime
    from onnx import TensorProto, helper

    rows, inner, columns = 16, 64, 32
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.UINT8, [rows, inner])],
        [helper.make_tensor_value_info("c", TensorProto.INT32, [rows, columns])],
        [helper.make_tensor("b", TensorProto.INT8, [inner, columns], [127] * (inner * columns))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (product,) = session.run(None, {"a": np.full((rows, inner), 255, dtype=np.uint8)})
    return bool((np.asarray(product) != 255 * 127 * inner).any())
