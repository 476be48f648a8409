"""A written sentence to what is said: pieces of one language each, in words.

`speakable` takes out what is for the eye (`speech_text_marks`), splits by script (`speech_text_scripts`), and writes
numbers, dates, units and symbols out in each language (`speech_text_zh`, `speech_text_en`).
"""

from collections.abc import Callable, Mapping

from elysia_chat.voice.speech_text_en import english
from elysia_chat.voice.speech_text_marks import plain
from elysia_chat.voice.speech_text_scripts import Piece, split_scripts
from elysia_chat.voice.speech_text_wetext import normalise
from elysia_chat.voice.speech_text_zh import chinese

__all__ = ["Piece", "speakable"]


def speakable(sentence: str, default_language: str = "zh") -> tuple[Piece, ...]:
    """Return what is to be said of a sentence, in order; nothing where there is nothing to say.

    Args:
        sentence: as written, with marks, numbers and symbols.
        default_language: of a sentence that holds numbers alone.
    """
    text = plain(sentence)
    pieces = (_spoken(piece) for piece in split_scripts(text, default_language)) if text else ()
    return tuple(piece for piece in pieces if any(character.isalnum() for character in piece.text))


def _japanese(text: str) -> str:
    return normalise(text, "ja")


_NORMALISERS: Mapping[str, Callable[[str], str]] = {"zh": chinese, "en": english, "ja": _japanese}


def _spoken(piece: Piece) -> Piece:
    normaliser = _NORMALISERS.get(piece.language)
    return piece if normaliser is None else Piece(piece.language, normaliser(piece.text.strip()))
