import pytest

from elysia_chat.voice.cache import SpeechCache, SpokenKey
from elysia_chat.voice.errors import SynthesisError, UnspeakableError
from elysia_chat.voice.speaker import Speaker
from tests.voice.parts import CountingEngine
from tests.voice.test_audio import tone


def test_a_mixed_sentence_is_said_by_two_voices():
    chinese, english = CountingEngine("zh"), CountingEngine("en", rate=22_050)
    audio = Speaker({"zh": chinese, "en": english}, pause_seconds=0.1).speak("我叫Elysia，3点见 [1]。")
    assert (chinese.said, english.said) == (["我叫", "三点见。"], ["Elysia,"])
    assert audio is not None
    assert audio.sample_rate == 24_000
    assert audio.seconds == pytest.approx(3 * 0.1 + 2 * 0.05 + 0.1, abs=0.002)


@pytest.mark.parametrize("sentence", ["", "……", "😀", "（笑）", "[1]", "```code```"])
def test_nothing_to_say_is_no_error(sentence: str):
    spoken = Speaker({"zh": CountingEngine()}).utter(sentence)
    assert (spoken.audio, spoken.problem) == (None, None)


def test_what_there_is_no_voice_for_is_told_and_the_rest_is_said():
    engine = CountingEngine("zh")
    speaker = Speaker({"zh": engine})
    spoken = speaker.utter("我叫Elysia。")
    assert spoken.audio is not None
    assert engine.said == ["我叫"]
    assert str(spoken.problem) == "There is no voice for English: choose one with the setting voice.en."
    with pytest.raises(UnspeakableError, match="script of 'Привет'"):
        speaker.speak("Привет")


def test_a_failing_engine_is_told():
    speaker = Speaker({"zh": CountingEngine(failing="坏")})
    assert isinstance(speaker.utter("坏了。").problem, SynthesisError)
    with pytest.raises(SynthesisError, match="broken"):
        speaker.speak("坏了。")


def test_what_was_said_is_not_computed_again():
    engine, cache = CountingEngine(), SpeechCache(10_000_000)
    for _ in range(2):
        Speaker({"zh": engine}, cache).speak("你好。")
    Speaker({"zh": engine}, cache, speed=1.5).speak("你好。")
    assert engine.said == ["你好。", "你好。"]


def test_the_cache_is_bounded_and_forgets_the_oldest():
    sound = tone(0.1)
    size = sound.samples.nbytes
    cache = SpeechCache(3 * size)
    keys = [SpokenKey("voice", str(number), "zh", 1.0) for number in range(4)]
    for key in keys[:3]:
        cache.put(key, sound)
    assert cache.get(keys[0]) is sound
    cache.put(keys[3], sound)
    assert [cache.get(key) is not None for key in keys] == [True, False, True, True]
    assert cache.bytes == 3 * size
    cache.put(keys[1], tone(10))
    assert cache.get(keys[1]) is None
    assert SpeechCache(0).bytes == 0
