"""Makes coqui-tts importable where no working torchaudio is installed.

coqui-tts refuses to be imported unless torchaudio and torchcodec can be found. Of torchaudio its VITS uses `load` and
`transforms.Resample` alone, of torchcodec nothing, and the registry's wheels of both are CUDA builds that cannot be
loaded beside a CPU build of torch. So where either does not work, modules of these names, on soundfile and soxr, stand
in their place while coqui-tts is being imported, and only then: no other library takes them for the real ones.
"""

import importlib
import logging
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, BinaryIO

NAMES = ("torchaudio", "torchcodec")
_importing = threading.Lock()


def import_coqui(module: str) -> ModuleType:
    """Import a module of coqui-tts or its trainer, with the stand-in where that is needed.

    Args:
        module: its full name, such as "TTS.tts.models.vits".
    """
    with _importing:
        if module in sys.modules:
            return sys.modules[module]
        # Its warnings are of things that a user of a voice can neither see nor mend.
        logging.getLogger("TTS").setLevel(logging.ERROR)
        with stand_in():
            return importlib.import_module(module)


@contextmanager
def stand_in() -> Iterator[bool]:
    """Have modules called torchaudio and torchcodec for a while; yields whether they are stand-ins.

    Where both real ones work they are left alone. On the way out everything is as it was before.
    """
    if works():
        yield False
        return
    before = _taken_out()
    sys.modules.update(_modules())
    try:
        yield True
    finally:
        _taken_out()
        sys.modules.update(before)


def works() -> bool:
    """Return whether the installed torchaudio and torchcodec can be imported."""
    present = set(sys.modules)
    try:
        for name in NAMES:
            importlib.import_module(name)
    except (ImportError, OSError, RuntimeError):
        # What a failed import leaves behind would be taken for a module by the next one.
        for name in _ours(set(sys.modules) - present):
            del sys.modules[name]
        return False
    return True


def load(
    uri: str | os.PathLike[str] | BinaryIO,
    frame_offset: int = 0,
    num_frames: int = -1,
    normalize: bool = True,
    channels_first: bool = True,
    **options: Any,
) -> tuple[Any, int]:
    """Read a sound file, as `torchaudio.load` does.

    Args:
        uri: what soundfile can read.
        frame_offset: where to begin.
        num_frames: how many to read; -1 for all.
        normalize: torchaudio gives integers without it; always floats here.
        channels_first: shape (channels, frames) rather than (frames, channels).
        options: of torchaudio's back ends; they have no meaning here.

    Returns:
        A float32 tensor within [-1, 1], and the sample rate in Hz.
    """
    import soundfile
    import torch

    del normalize, options
    samples, rate = soundfile.read(uri, start=frame_offset, frames=num_frames, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy() if channels_first else samples), rate


def save(
    uri: str | os.PathLike[str] | BinaryIO,
    src: Any,
    sample_rate: int,
    channels_first: bool = True,
    format: str | None = None,
    **options: Any,
) -> None:
    """Write a tensor of samples to a sound file, as `torchaudio.save` does."""
    import soundfile

    del options
    samples = src.detach().cpu()
    soundfile.write(uri, (samples.T if channels_first else samples).numpy(), sample_rate, format=format)


def resample(waveform: Any, orig_freq: int, new_freq: int, **options: Any) -> Any:
    """Change the sample rate of a tensor of shape (..., frames), by soxr."""
    import numpy as np
    import soxr
    import torch

    del options
    if orig_freq == new_freq:
        return waveform
    rows = waveform.detach().cpu().numpy().reshape(-1, waveform.shape[-1])
    made = np.stack([soxr.resample(row, orig_freq, new_freq) for row in rows])
    return torch.from_numpy(made).reshape(*waveform.shape[:-1], -1).to(waveform)


def _taken_out() -> dict[str, ModuleType]:
    return {name: sys.modules.pop(name) for name in _ours(set(sys.modules))}


def _ours(names: set[str]) -> list[str]:
    return [name for name in names if name.partition(".")[0] in NAMES]


def _modules() -> dict[str, ModuleType]:
    import torch

    class Resample(torch.nn.Module):
        """`resample` as a module."""

        def __init__(self, orig_freq: int = 16_000, new_freq: int = 16_000, **options: Any) -> None:
            super().__init__()
            del options
            self.orig_freq, self.new_freq = orig_freq, new_freq

        def forward(self, waveform: Any) -> Any:
            """Return the samples at the new rate."""
            return resample(waveform, self.orig_freq, self.new_freq)

    class MelSpectrogram(torch.nn.Module):
        """Named by coqui's speaker encoder, which needs the real one."""

        def __init__(self, *positional: Any, **named: Any) -> None:
            super().__init__()
            del positional, named
            msg = "Speaker encoders need a working torchaudio."
            raise NotImplementedError(msg)

    functional = _module("torchaudio.functional", resample=resample)
    transforms = _module("torchaudio.transforms", Resample=Resample, MelSpectrogram=MelSpectrogram)
    torchaudio = _module(
        "torchaudio", load=load, save=save, functional=functional, transforms=transforms, __version__="0", __path__=[]
    )
    torchcodec = _module("torchcodec", __version__="0", __path__=[])
    return {module.__name__: module for module in (torchaudio, functional, transforms, torchcodec)}


def _module(name: str, **content: Any) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None, is_package="__path__" in content)
    vars(module).update(content)
    return module
