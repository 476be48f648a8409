"""How the text of a sentence becomes the ids that a VITS network reads."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from elysia_chat.voice.errors import SynthesisError, UnspeakableError

_log = logging.getLogger(__name__)


class TextFrontEnd(Protocol):
    """The seam between text and network."""

    def ids(self, text: str, language: str) -> list[int]:
        """Return the ids of a sentence.

        Args:
            text: normalised: words and punctuation of one language.
            language: "zh", "en" or "ja".

        Raises:
            UnspeakableError: nothing in the text is known to the voice.
            MissingProgramError: a program that makes phonemes is not installed.
            SynthesisError: phonemes could not be made.
        """
        ...


class SymbolText:
    """Text that a function turns into symbols: the phonemes of espeak-ng, or a cleaner of the original VITS.

    Args:
        reader: (text, language) to a string, each character of which is a symbol.
        vocabulary: ids of a symbol; unknown symbols are left out.
        pad: id that stands between two symbols.
        bos: id of the beginning, or None.
        eos: id of the end, or None.
    """

    def __init__(
        self,
        reader: Callable[[str, str], str],
        vocabulary: Mapping[str, Sequence[int]],
        *,
        pad: int | None,
        bos: int | None = None,
        eos: int | None = None,
    ) -> None:
        self._reader, self._vocabulary = reader, vocabulary
        self._pad, self._bos, self._eos = pad, bos, eos

    def ids(self, text: str, language: str) -> list[int]:
        """Return the ids of a sentence; see `TextFrontEnd`."""
        symbols = self._reader(text, language)
        unknown = sorted({symbol for symbol in symbols if symbol not in self._vocabulary})
        if unknown:
            _log.debug("The voice does not know %s; left out.", " ".join(map(repr, unknown)))
        if not any(symbol.isalpha() and symbol in self._vocabulary for symbol in symbols):
            msg = "The voice knows nothing of what this text says."
            raise UnspeakableError(msg)
        known = [number for symbol in symbols for number in self._vocabulary.get(symbol, ())]
        if self._pad is not None:
            spaced = [self._pad] * (2 * len(known) + 1)
            spaced[1::2] = known
            known = spaced
        ends = ([] if number is None else [number] for number in (self._bos, self._eos))
        return [*next(ends), *known, *next(ends)]


class CoquiText:
    """coqui-tts's own way, as a voice's configuration describes it.

    Args:
        tokenizer: coqui's `TTSTokenizer`.
        names: coqui's name of a language, such as "zh-cn" for "zh".
    """

    def __init__(self, tokenizer: Any, names: Mapping[str, str]) -> None:
        self._tokenizer, self._names = tokenizer, names

    def ids(self, text: str, language: str) -> list[int]:
        """Return the ids of a sentence; see `TextFrontEnd`."""
        try:
            found = list(map(int, self._tokenizer.text_to_ids(text, language=self._names.get(language, language))))
        except (ValueError, KeyError, TypeError, OSError, RuntimeError, ImportError) as error:
            msg = f"coqui-tts could not read the text as '{language}': {error}"
            raise SynthesisError(msg) from error
        silent = {getattr(self._tokenizer, "blank_id", None), getattr(self._tokenizer, "pad_id", None)}
        if self._tokenizer.use_eos_bos:
            silent |= {self._tokenizer.characters.bos_id, self._tokenizer.characters.eos_id}
        if not set(found) - silent:
            msg = "The voice knows nothing of what this text says."
            raise UnspeakableError(msg)
        return found
