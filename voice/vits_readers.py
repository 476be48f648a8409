"""Which front end reads the text of a VITS voice, by the name that its `voice.json` has for it."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from elysia_chat.voice.errors import VoiceFolderError
from elysia_chat.voice.vits_text import CoquiText, SymbolText

if TYPE_CHECKING:
    from elysia_chat.voice.vits_text import TextFrontEnd

COQUI, ESPEAK, LETTERS = "coqui", "espeak", "text"


def needs_tokenizer(cleaner: str) -> bool:
    """Return whether a voice is read by coqui's tokenizer, which may need a program for its phonemes."""
    return cleaner == COQUI


def front_end(
    cleaner: str, config: Mapping[str, Any], model: Any, languages: Sequence[str]
) -> tuple["TextFrontEnd", dict[str, int | None]]:
    """Return what reads a voice's text, and the number of each of its languages in the network.

    Args:
        cleaner: "coqui", "espeak", "text", or the name of a cleaner of the original VITS.
        config: the voice's coqui configuration.
        model: coqui's `Vits` of it.
        languages: what the voice speaks: of "zh", "en", "ja".

    Raises:
        VoiceFolderError: there is no such front end.
        MissingProgramError: a program that makes phonemes is not installed.
    """
    if cleaner == COQUI:
        return _coqui(config, model, languages)
    reader = symbol_reader(cleaner, config)
    part = config["characters"]
    vocabulary = {symbol: (number,) for number, symbol in enumerate(part["vocab_dict"])}
    ends = config.get("enable_eos_bos_chars")
    text = SymbolText(
        reader,
        vocabulary,
        pad=vocabulary[part["pad"]][0] if config.get("add_blank", True) else None,
        bos=vocabulary[part["bos"]][0] if ends else None,
        eos=vocabulary[part["eos"]][0] if ends else None,
    )
    return text, dict.fromkeys(languages)


def symbol_reader(cleaner: str, config: Mapping[str, Any]) -> Callable[[str, str], str]:
    """Return what turns text of a language into symbols; arguments and errors as of `front_end`, but not "coqui"."""
    if cleaner == ESPEAK:
        from elysia_chat.voice.espeak import espeak_phonemes, espeak_program

        espeak_program()
        voice = str(config["phoneme_language"])
        return lambda text, _language: espeak_phonemes(text, voice)
    if cleaner == LETTERS:
        import unicodedata

        return lambda text, _language: unicodedata.normalize("NFD", text.casefold())
    from elysia_chat.voice.cleaners import find_cleaner

    found = find_cleaner(cleaner, config["characters"]["vocab_dict"])
    if found is None:
        msg = f"The voice's text is read by '{cleaner}', which is not known here: remove the voice and add it again."
        raise VoiceFolderError(msg)
    return found.read


def _coqui(
    config: Mapping[str, Any], model: Any, languages: Sequence[str]
) -> tuple["TextFrontEnd", dict[str, int | None]]:
    from elysia_chat.voice.vits import known_languages

    numbered = list(config.get("languages") or ()) if hasattr(model, "emb_l") else []
    named = known_languages(numbered) or known_languages([str(config.get("phoneme_language") or "")])
    numbers = {
        language: numbered.index(named[language]) if numbered and language in named else None for language in languages
    }
    return CoquiText(model.tokenizer, named), numbers
