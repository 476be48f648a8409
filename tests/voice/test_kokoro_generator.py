"""The generator computes the published network; its sound is that of the published graph."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from elysia_chat.voice import kokoro, kokoro_weights
from elysia_chat.voice.kokoro_generator import Generator
from elysia_chat.voice.kokoro_network import session_options
from elysia_chat.voice.registry import load_engine

CHANNELS, STYLE, FRAMES = 16, 6, 9


def small_generator() -> Generator:
    torch.manual_seed(4)
    generator = Generator(channels=CHANNELS, style=STYLE, rates=(4, 2), sizes=(3, 5), noise_sizes=(3, 5))
    for name, weight in generator.named_parameters():
        weight.data = torch.rand_like(weight) + 0.5 if name.endswith("alpha") else torch.randn_like(weight) * 0.2
    # Its results are exponents.
    generator.conv_post.weight.data *= 0.1
    return generator


def written_out(generator: Generator, features: Tensor, source: Tensor, style: Tensor) -> Tensor:
    """The network as its papers have it: one-dimensional, in float64, nothing rearranged."""
    weights = {name: weight.double() for name, weight in generator.state_dict().items()}

    def convolve(x: Tensor, name: str, **how: Any) -> Tensor:
        return F.conv1d(x, weights[f"{name}.weight"][:, :, 0], weights[f"{name}.bias"], **how)

    def activate(x: Tensor, name: str) -> Tensor:
        both = F.linear(style, weights[f"{name}.fc.weight"], weights[f"{name}.fc.bias"])[:, :, None]
        scale, shift = both.chunk(2, dim=1)
        x = (1 + scale) * F.instance_norm(x) + shift
        alpha = weights[f"{name}.alpha"][None, :, None]
        return x + (alpha * x).sin() ** 2 / alpha

    def block(x: Tensor, name: str) -> Tensor:
        for pair, spread in enumerate((1, 3, 5)):
            size = weights[f"{name}.convs1.{pair}.weight"].shape[-1]
            y = activate(x, f"{name}.adain1.{pair}")
            y = convolve(y, f"{name}.convs1.{pair}", padding=spread * (size // 2), dilation=spread)
            y = activate(y, f"{name}.adain2.{pair}")
            x = x + convolve(y, f"{name}.convs2.{pair}", padding=size // 2)
        return x

    window = torch.hann_window(20, dtype=torch.float64)
    # In float32 as well: at the lowest and the highest frequency the sign of a zero decides between pi and -pi.
    spectrum = torch.stft(source, 20, 5, window=torch.hann_window(20), return_complex=True)
    noise = torch.cat([spectrum.abs(), spectrum.angle()], dim=1).double()
    x = features
    for number, rate in enumerate((4, 2)):
        x, name = F.leaky_relu(x, 0.1), f"ups.{number}"
        x = F.conv_transpose1d(
            x, weights[f"{name}.weight"][:, :, 0], weights[f"{name}.bias"], stride=rate, padding=rate // 2
        )
        if number == 1:
            x = F.pad(x, (1, 0), mode="reflect")
        how = {"stride": 2, "padding": 1} if number == 0 else {}
        x = x + block(convolve(noise, f"noise_convs.{number}", **how), f"noise_res.{number}")
        x = (block(x, f"resblocks.{2 * number}") + block(x, f"resblocks.{2 * number + 1}")) / 2
    x = convolve(F.leaky_relu(x, 0.01), "conv_post", padding=3)
    spectrum = torch.polar(x[:, :11].exp(), x[:, 11:].sin())
    return torch.istft(spectrum, 20, 5, window=window).reshape(-1)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-4), (torch.bfloat16, 0.05)])
def test_it_computes_the_network(dtype: torch.dtype, bound: float):
    generator = small_generator()
    features = torch.randn(1, CHANNELS, FRAMES)
    source = torch.rand(1, FRAMES * generator.samples_per_frame) - 0.5
    style = torch.randn(1, STYLE)
    expected = written_out(generator, features.double(), source, style.double())
    with torch.inference_mode():
        made = generator.prepare(dtype)(features, source, style)
    assert made.dtype == torch.float32
    assert made.shape == (FRAMES * generator.samples_per_frame,)
    assert (made - expected).norm() / expected.norm() < bound


@pytest.mark.weights
@pytest.mark.slow
def test_it_sounds_like_the_published_graph(tmp_path: Path):
    whole = tmp_path / "whole.onnx"
    kokoro_weights._join(whole)
    session = onnxruntime.InferenceSession(whole, session_options(threads=1), providers=["CPUExecutionProvider"])
    engine = load_engine("xiaoyi")
    assert isinstance(engine, kokoro.KokoroEngine)
    symbols = [engine._symbols[symbol] for symbol in kokoro._phonemes("今天天气真好。")]
    style = engine._styles[len(symbols)]
    feed = {"tokens": np.array([[0, *symbols, 0]]), "style": style, "speed": np.ones(1, dtype=np.float32)}
    published = np.asarray(session.run(None, feed)[0]).reshape(-1)
    ours = engine._network.wave(symbols, style, 1.0)
    assert ours.shape == published.shape
    # The published graph computes in 8 bits, and half as loud again.
    assert np.corrcoef(ours, published)[0, 1] > 0.95
