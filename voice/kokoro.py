"""Kokoro-82M (StyleTTS 2) as a Mandarin voice, computed by onnxruntime.

A sentence becomes phonemes by misaki's rules for Chinese, the ones that Kokoro was trained with; they and a style
vector that depends on their number go through one ONNX graph.
"""

import json
import logging
import re
import threading
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from elysia_chat.voice.audio import Audio, concatenate, trim_silence
from elysia_chat.voice.engine import check_speakable
from elysia_chat.voice.errors import SynthesisError, UnspeakableError, VoicePackageError
from elysia_chat.voice.kokoro_weights import MODEL_SHA256, RECIPE, kokoro_model

if TYPE_CHECKING:
    from elysia_chat.voice.registry import Voice

SAMPLE_RATE = 24_000
_VOICES = Path(__file__).parent / "voices"
_STYLE_SIZE = 256
# The style vectors go up to 509 phonemes; long texts sound better in shorter runs.
_MOST_PHONEMES = 300
_PAUSE_SECONDS = 0.15


class KokoroEngine:
    """Speaks Mandarin.

    Args:
        session: the onnxruntime session of the model.
        styles: of the voice, float32 of shape (510, 1, 256): row i is for a text of i phonemes.
        symbols: phonemes and punctuation, and their numbers.
        name: of the voice, for the fingerprint.
    """

    languages = frozenset({"zh"})
    sample_rate = SAMPLE_RATE

    def __init__(self, session: Any, styles: NDArray[np.float32], symbols: dict[str, int], name: str) -> None:
        self._session = session
        self._styles = styles
        self._symbols = symbols
        self.fingerprint = f"kokoro {MODEL_SHA256[:16]} {RECIPE} {name}"

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> Audio:
        """Speak a sentence; see `SpeechEngine`."""
        check_speakable(self, text, language)
        runs = _in_runs("".join(symbol for symbol in _phonemes(text) if symbol in self._symbols))
        if not runs:
            msg = "None of these characters has a reading in Mandarin."
            raise UnspeakableError(msg)
        return concatenate([self._speak(run, speed) for run in runs], gap_seconds=_PAUSE_SECONDS)

    def _speak(self, phonemes: str, speed: float) -> Audio:
        numbers = [self._symbols[symbol] for symbol in phonemes]
        feed = {
            "tokens": np.array([[0, *numbers, 0]], dtype=np.int64),
            "style": self._styles[min(len(numbers), len(self._styles) - 1)],
            "speed": np.array([speed], dtype=np.float32),
        }
        samples = np.asarray(_run(self._session, feed), dtype=np.float32).reshape(-1)
        if not np.isfinite(samples).all():
            msg = "The Mandarin voice computed no sound for this sentence."
            raise SynthesisError(msg)
        return trim_silence(Audio(samples, SAMPLE_RATE))


def load_kokoro(voice: "Voice", speaker: str | None, threads: int) -> KokoroEngine:
    """Load a built-in Mandarin voice; the weights are joined first where that has not been done.

    Raises:
        VoicePackageError: a package with the weights is missing or damaged.
        FolderNotWritableError: the data folder cannot be written.
    """
    del speaker
    name = voice.info.name
    symbols = json.loads((_VOICES / "symbols.json").read_text(encoding="utf-8"))
    _reader()
    styles = np.frombuffer((_VOICES / f"{name}.bin").read_bytes(), dtype="<f4").reshape(-1, 1, _STYLE_SIZE)
    return KokoroEngine(_session(kokoro_model(), threads), styles, symbols, name)


@lru_cache(maxsize=1)
def _session(path: Path, threads: int) -> Any:
    """Return the session that all voices of the model share."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        return onnxruntime.InferenceSession(path, session_options(threads), providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.NoSuchFile) as error:
        msg = f"The Mandarin voice in {path} cannot be read: delete the file, and it is made again."
        raise VoicePackageError(msg) from error


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

    There its slower kernels have to be asked for; elsewhere they would cost a third of the speed for nothing.
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


def _run(session: Any, feed: dict[str, Any]) -> Any:
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    try:
        return session.run(None, feed)[0]
    except (errors.Fail, errors.InvalidArgument, errors.RuntimeException) as error:
        first_line = str(error).splitlines()[0]
        msg = f"The Mandarin voice failed on a sentence: {first_line}"
        raise SynthesisError(msg) from error


_reading = threading.Lock()


def _phonemes(text: str) -> str:
    with _reading:
        return str(_reader()(text)[0])


@lru_cache(maxsize=1)
def _reader() -> Any:
    """Return misaki's reader of Chinese, with jieba's dictionary loaded."""
    import jieba
    from misaki.zh import ZHG2P

    jieba.setLogLevel(logging.WARNING)
    jieba.initialize()
    return ZHG2P()


def _in_runs(phonemes: str) -> list[str]:
    """Cut phonemes into runs that the model takes, behind punctuation or else between words."""
    runs = []
    rest = phonemes.strip()
    while len(rest) > _MOST_PHONEMES:
        head = rest[:_MOST_PHONEMES]
        cut = max(head.rfind(mark) for mark in ".!?;:,") + 1
        cut = cut if cut > _MOST_PHONEMES // 3 else head.rfind(" ") + 1 or _MOST_PHONEMES
        runs.append(rest[:cut].strip())
        rest = rest[cut:].strip()
    return [run for run in (*runs, rest) if re.search(r"\w", run)]
