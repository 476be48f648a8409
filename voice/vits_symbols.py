"""The vocabulary of converted voices, as coqui-tts wants it: symbols in the order of their ids.

coqui-tts imports this class by the name that stands in a voice's `config.json`, so that its own tools can use the
voice too. Import it after coqui-tts (`torchaudio_standin.import_coqui`).
"""

from typing import Any

from TTS.tts.utils.text.characters import BaseCharacters, BaseVocabulary

CHARACTERS_CLASS = f"{__name__}.OrderedSymbols"


class OrderedSymbols(BaseCharacters):  # type: ignore[misc,unused-ignore]
    """A vocabulary given symbol by symbol.

    coqui-tts has this in `BaseVocabulary`, but takes subclasses of `BaseCharacters` alone from a configuration.

    Args:
        vocab: the symbols; the place of each is its id.
        pad: symbol of padding.
        blank: symbol between two others.
        bos: symbol of the beginning, or None.
        eos: symbol of the end, or None.
    """

    def __init__(self, vocab: list[str], pad: str, blank: str, bos: str | None, eos: str | None) -> None:
        BaseVocabulary.__init__(self, vocab, pad=pad, blank=blank, bos=bos, eos=eos)
        self.characters = self.punctuations = ""
        self.is_unique = self.is_sorted = False

    @staticmethod
    def init_from_config(config: Any) -> tuple["OrderedSymbols", Any]:
        """Return the vocabulary that a coqui configuration describes, and the configuration."""
        part = config.characters
        return OrderedSymbols(part.vocab_dict, part.pad, part.blank, part.bos, part.eos), config

    to_config = BaseVocabulary.to_config
