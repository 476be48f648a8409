"""Settings to speech: which voice speaks which language, and the parts that all sessions of a process share."""

from collections.abc import Mapping

from elysia_chat.configs.settings import VoiceSettings
from elysia_chat.voice.cache import SpeechCache
from elysia_chat.voice.pool import VoicePool
from elysia_chat.voice.registry import check_speaker, find_voice, list_voices
from elysia_chat.voice.speaker import Speaker
from elysia_chat.voice.speech_text import speakable
from elysia_chat.voice.stream import SpeechStream, SpeechWorker

DEFAULT_VOICES: Mapping[str, str] = {"zh": "xiaoyi", "en": "joe"}


class Speech:
    """Everything that speaks in a process: engines, what has been spoken, and the thread that computes.

    Args:
        settings: which voices, how fast, with how many threads.
    """

    def __init__(self, settings: VoiceSettings) -> None:
        self._settings = settings
        self.pool = VoicePool(settings.speaker, settings.threads)
        self.worker = SpeechWorker()
        self._cache = SpeechCache(round(settings.cache_mb * 1_000_000))

    def speaker(
        self,
        persona_voices: Mapping[str, str] | None = None,
        *,
        voice: str | None = None,
        chosen: Mapping[str, str] | None = None,
        speed: float | None = None,
    ) -> Speaker:
        """Return a speaker; nothing is loaded before its first sentence.

        Args:
            persona_voices: voices that a persona names, by language; the settings come first.
            voice: one voice for all the languages that it has, before all others.
            chosen: voices that the user has chosen, by language; only `voice` comes before them.
            speed: in the place of the settings'.

        Raises:
            UnknownVoiceError: there is no such voice; the message names the known ones.
            VoiceFolderError: a voice's folder is damaged.
        """
        names = choose_voices(self._settings, persona_voices, voice, chosen)
        engines = {language: self.pool.engine(name) for language, name in names.items()}
        return Speaker(engines, self._cache, speed=speed or self._settings.speed)

    def load(self, persona_voices: Mapping[str, str] | None = None) -> None:
        """Load the voices that `speaker` would speak with, and what writes numbers out.

        Raises:
            VoiceError: one cannot be loaded; those before it are.
        """
        for name in dict.fromkeys(choose_voices(self._settings, persona_voices).values()):
            self.pool.engine(name).load()
        for language in ("zh", "en"):
            speakable("1", language)

    def stream(self, speaker: Speaker) -> SpeechStream:
        """Return the stream of a new reply."""
        return SpeechStream(speaker, self.worker)

    def close(self) -> None:
        """End the thread that computes."""
        self.worker.close()


def build_speech(settings: VoiceSettings) -> Speech:
    """Return what speaks in this process."""
    return Speech(settings)


def choose_voices(
    settings: VoiceSettings,
    persona_voices: Mapping[str, str] | None = None,
    voice: str | None = None,
    chosen: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the name of the voice for each language.

    The first of these that is there counts: the voice asked for, where it has the language; the one chosen for the
    language; `voice.name`, where it has the language; the language's own setting; the persona's voice, where it is one
    that is here; the built-in one.

    Raises:
        UnknownVoiceError: there is no such voice, or `voice.name` has no such speaker; the message names the known.
        VoiceFolderError: a voice's folder is damaged.
    """
    own = {"zh": settings.zh, "en": settings.en, "ja": settings.ja}
    here = {known.info.name for known in list_voices()}
    persona = {language: name for language, name in (persona_voices or {}).items() if name in here}
    names = {**DEFAULT_VOICES, **persona, **{language: name for language, name in own.items() if name}}
    if settings.name is not None:
        own_voice = find_voice(settings.name)
        if settings.speaker is not None:
            check_speaker(own_voice, settings.speaker)
        names |= dict.fromkeys(own_voice.info.languages, settings.name)
    names |= chosen or {}
    if voice is not None:
        names |= dict.fromkeys(find_voice(voice).info.languages, voice)
    return names
