"""Kokoro's last part, which makes the wave: iSTFTNet with a style and a periodic source, in torch.

It takes nine tenths of the voice's computing. The published network (iSTFTNet, arXiv:2203.02395, with the blocks of
StyleTTS 2, arXiv:2306.07691) is written down here for speed on a CPU: time runs along the width of images whose
channels lie innermost, which oneDNN convolves without reordering them, and normalisation, style and periodic activation
are four passes in place.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_DILATIONS = (1, 3, 5)
_EPSILON = 1e-5


class Generator(nn.Module):
    """Makes a wave of features, a source and a style.

    Args:
        channels: of the features; halved by each of the two upsamplings.
        style: numbers in a style.
        rates: factors of the two upsamplings; each kernel is twice as long.
        noise_sizes: kernels of the blocks that take the source, one for each upsampling.
        sizes: kernels of the blocks whose mean follows each upsampling.
        window: samples of the short-time Fourier transform.
        hop: samples from one of its windows to the next.
    """

    def __init__(
        self,
        *,
        channels: int = 512,
        style: int = 128,
        rates: tuple[int, int] = (10, 6),
        noise_sizes: tuple[int, int] = (7, 11),
        sizes: tuple[int, ...] = (3, 7, 11),
        window: int = 20,
        hop: int = 5,
    ) -> None:
        super().__init__()
        widths = (channels // 2, channels // 4)
        bands = window // 2 + 1
        self.samples_per_frame = rates[0] * rates[1] * hop
        self.style_size = style
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(2 * width, width, (1, 2 * rate), (1, rate), (0, rate // 2))
            for width, rate in zip(widths, rates, strict=True)
        )
        later = rates[1]
        self.noise_convs = nn.ModuleList(
            [
                nn.Conv2d(2 * bands, widths[0], (1, 2 * later), (1, later), (0, later // 2)),
                nn.Conv2d(2 * bands, widths[1], 1),
            ]
        )
        self.noise_res = nn.ModuleList(map(_Block, widths, noise_sizes, (style, style)))
        self.resblocks = nn.ModuleList(_Block(width, size, style) for width in widths for size in sizes)
        self.conv_post = nn.Conv2d(widths[1], 2 * bands, (1, 7), padding=(0, 3))
        self._window = torch.hann_window(window)
        self._hop = hop
        self._dtype = torch.float32

    def prepare(self, dtype: torch.dtype) -> "Generator":
        """Set the number format of all convolutions but the last, and lay the weights as they are computed with."""
        self.eval().requires_grad_(requires_grad=False)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                # The last one's results are exponents and phases: rounded to bfloat16, they make most of its noise.
                layer.to(torch.float32 if layer is self.conv_post else dtype)
                layer.weight.data = layer.weight.data.contiguous(memory_format=torch.channels_last)
        self._dtype = dtype
        return self

    def forward(self, features: Tensor, source: Tensor, style: Tensor) -> Tensor:
        """Make a wave.

        Args:
            features: (1, channels, frames).
            source: the periodic source, (1, frames * samples_per_frame).
            style: (1, style_size).

        Returns:
            float32 of shape (frames * samples_per_frame,).
        """
        spectrum = torch.stft(source, len(self._window), self._hop, window=self._window, return_complex=True)
        noise = self._image(torch.cat([spectrum.abs(), spectrum.angle()], dim=1))
        x = self._image(features)
        blocks = len(self.resblocks) // 2
        for number, up in enumerate(self.ups):
            x = up(F.leaky_relu(x, 0.1))
            if number == 1:
                # One more, for the windows of the transform are one more than hops.
                x = self._image(F.pad(x.squeeze(2), (1, 0), mode="reflect"))
            x = self.noise_res[number](self.noise_convs[number](noise), style).add_(x)
            first, *others = self.resblocks[number * blocks : (number + 1) * blocks]
            mean = first(x, style)
            for block in others:
                mean.add_(block(x, style))
            x = mean.div_(blocks)
        x = self.conv_post(F.leaky_relu_(x, 0.01).float()).squeeze(2)
        logarithm, phase = x.chunk(2, dim=1)
        spectrum = torch.polar(logarithm.exp(), phase.sin())
        return torch.istft(spectrum, len(self._window), self._hop, window=self._window).reshape(-1)

    def _image(self, x: Tensor) -> Tensor:
        return x.unsqueeze(2).to(self._dtype).contiguous(memory_format=torch.channels_last)


class _Activation(nn.Module):
    """Instance normalisation that a style scales and shifts, and x + sin²(ax) / a (snake, arXiv:2006.08195)."""

    def __init__(self, channels: int, style: int) -> None:
        super().__init__()
        self.fc = nn.Linear(style, 2 * channels)
        self.alpha = nn.Parameter(torch.ones(channels))

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        # sin²(ax) / a = (1 - cos 2ax) / 2a. With y = x + 1/2a, which the normalisation shifts by as well, the
        # activation is y - cos(2ay - 1) / 2a.
        scale, shift = self.fc(style).reshape(-1).chunk(2)
        half = 0.5 / self.alpha
        y = F.batch_norm(x, None, None, 1 + scale, shift + half, training=True, eps=_EPSILON)
        double = (2 * self.alpha).to(y.dtype).reshape(1, -1, 1, 1)
        wave = torch.addcmul(y.new_full((1, 1, 1, 1), -1), y, double).cos_()
        return y.addcmul_(wave, half.neg().to(y.dtype).reshape(1, -1, 1, 1))


class _Block(nn.Module):
    """Three pairs of convolutions, the first of each dilated, around which the input is added."""

    def __init__(self, channels: int, size: int, style: int) -> None:
        super().__init__()
        around = (size - 1) // 2
        self.convs1 = nn.ModuleList(
            nn.Conv2d(channels, channels, (1, size), padding=(0, around * spread), dilation=(1, spread))
            for spread in _DILATIONS
        )
        self.convs2 = nn.ModuleList(nn.Conv2d(channels, channels, (1, size), padding=(0, around)) for _ in _DILATIONS)
        self.adain1 = nn.ModuleList(_Activation(channels, style) for _ in _DILATIONS)
        self.adain2 = nn.ModuleList(_Activation(channels, style) for _ in _DILATIONS)

    def forward(self, x: Tensor, style: Tensor) -> Tensor:
        for first, second, before, between in zip(self.convs1, self.convs2, self.adain1, self.adain2, strict=True):
            x = second(between(first(before(x, style)), style)).add_(x)
        return x


def load_generator(weights: Mapping[str, Tensor], dtype: torch.dtype) -> Generator:
    """Return Kokoro's generator with its weights, ready to compute.

    Raises:
        RuntimeError: the weights are of another network.
    """
    generator = Generator()
    generator.load_state_dict(weights)
    return generator.prepare(dtype)
