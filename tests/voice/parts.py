"""Engines for tests."""

import threading

import numpy as np

from elysia_chat.voice.audio import Audio
from elysia_chat.voice.errors import SynthesisError


class CountingEngine:
    """Notes what it says; speaks a tone of a tenth of a second; waits for `allowed` before each sentence."""

    def __init__(self, *languages: str, rate: int = 24_000, failing: str = "\0") -> None:
        self.languages = frozenset(languages or ("zh", "en"))
        self.sample_rate = rate
        self.fingerprint = f"counting {rate} {sorted(self.languages)}"
        self.said: list[str] = []
        self.allowed = threading.Event()
        self.allowed.set()
        self.begun = threading.Event()
        self._failing = failing

    def synthesize(self, text: str, *, language: str, speed: float = 1.0) -> Audio:
        self.begun.set()
        assert self.allowed.wait(10)
        if self._failing in text:
            msg = "the engine is broken"
            raise SynthesisError(msg)
        self.said.append(text)
        return Audio(np.full(self.sample_rate // 10, 0.1, dtype=np.float32), self.sample_rate)
