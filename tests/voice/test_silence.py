import pytest

from elysia_chat.voice.engine import SpeechEngine
from elysia_chat.voice.silence import SilenceEngine
from tests.voice.contract import EngineContract


class TestSilence(EngineContract):
    @pytest.fixture
    def engine(self) -> SpeechEngine:
        return SilenceEngine()


class TestSilenceInEnglish(TestSilence):
    language = "en"
    short = "Hello."
    long = "The weather is lovely today, and all the flowers in the garden are blooming."


def test_four_syllables_a_second():
    audio = SilenceEngine().synthesize("今天天气真好啊", language="zh")
    assert audio.seconds == pytest.approx(7 / 4)
    assert not audio.samples.any()
