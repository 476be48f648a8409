"""What every speech engine has to do; the fake and each real one pass it.

A test module makes a subclass with the fixture `engine`, `language` and two sentences.
"""

import numpy as np
import pytest
import torch

from elysia_chat.voice.engine import SpeechEngine
from elysia_chat.voice.errors import UnspeakableError


class EngineContract:
    """Inherit, and give the fixture `engine`."""

    language = "zh"
    short = "你好。"
    long = "今天的天气真好，花园里的花都开了，我们一起去看吧。"

    @pytest.fixture
    def engine(self) -> SpeechEngine:
        raise NotImplementedError

    def test_it_says_what_it_can_say(self, engine: SpeechEngine):
        assert engine.languages <= {"zh", "en", "ja"}
        assert self.language in engine.languages
        assert engine.sample_rate >= 8000
        assert engine.fingerprint == engine.fingerprint.strip() != ""

    def test_a_sentence_becomes_sound(self, engine: SpeechEngine):
        audio = engine.synthesize(self.short, language=self.language)
        assert audio.sample_rate == engine.sample_rate
        assert audio.samples.dtype == np.float32
        assert audio.samples.ndim == 1
        assert np.abs(audio.samples).max() <= 1.0
        assert 0.1 < audio.seconds < 10

    def test_more_text_takes_longer(self, engine: SpeechEngine):
        short = engine.synthesize(self.short, language=self.language).seconds
        assert engine.synthesize(self.long, language=self.language).seconds > 2 * short

    def test_speed(self, engine: SpeechEngine):
        # The same noise for both: a voice may draw how long each sound lasts.
        torch.manual_seed(0)
        usual = engine.synthesize(self.long, language=self.language).seconds
        torch.manual_seed(0)
        fast = engine.synthesize(self.long, language=self.language, speed=1.5).seconds
        assert fast == pytest.approx(usual / 1.5, rel=0.2)

    @pytest.mark.parametrize("text", ["", "  ", "……！？", "♪"])
    def test_nothing_to_say(self, engine: SpeechEngine, text: str):
        with pytest.raises(UnspeakableError):
            engine.synthesize(text, language=self.language)

    def test_a_language_that_it_lacks(self, engine: SpeechEngine):
        lacking = sorted({"zh", "en", "ja", "other"} - engine.languages)
        for language in lacking:
            with pytest.raises(UnspeakableError, match="does not speak"):
                engine.synthesize("hello", language=language)

    def test_characters_that_no_voice_knows_do_not_stop_it(self, engine: SpeechEngine):
        assert engine.synthesize(f"{self.short}\u4e02\u3400¤", language=self.language).seconds > 0.1
