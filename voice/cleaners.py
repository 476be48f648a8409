"""The text cleaners that voices of the original VITS name: text of one language to the symbols such a voice learned.

What a cleaner has to write is decided by the voices that were trained with it; how it comes to that is this project's
own. Numbers are expected to be written out already.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

from elysia_chat.voice.engine import Language

Reader = Callable[[str], str]
_ENDS = frozenset(".,!?-…~")


@dataclass(frozen=True)
class Cleaner:
    """A cleaner.

    Attributes:
        name: by which a voice's configuration calls it.
        readers: for each language that it can read, a function from text to symbols.
    """

    name: str
    readers: dict[Language, Reader]

    @property
    def languages(self) -> tuple[Language, ...]:
        """What it can read, the language that it reads best first."""
        return tuple(self.readers)

    def read(self, text: str, language: str) -> str:
        """Return the symbols of a sentence, each a character.

        Raises:
            UnspeakableError: it cannot read the language.
            VoicePackageError: a package for the language is not installed.
            MissingProgramError: a program for the language is not installed.
        """
        from elysia_chat.voice.errors import UnspeakableError

        for known, reader in self.readers.items():
            if known == language:
                return reader(text)
        msg = f"This voice's cleaner '{self.name}' cannot read '{language}'."
        raise UnspeakableError(msg)


def find_cleaner(name: str, symbols: Sequence[str]) -> Cleaner | None:
    """Return the cleaner of a name, or None where there is none.

    Args:
        name: as the voice's configuration has it.
        symbols: that the voice knows: two cleaners go by the name `chinese_cleaners`, one writes bopomofo, one pinyin.
    """
    if name == "chinese_cleaners" and "ㄅ" not in symbols:
        return _cleaners()["chinese_cleaners (pinyin)"]
    return _cleaners().get(name)


def cleaner_names() -> tuple[str, ...]:
    """Return the names of all cleaners."""
    return tuple(name for name in _cleaners() if " " not in name)


@cache
def _cleaners() -> dict[str, Cleaner]:
    from elysia_chat.voice import cleaners_en as en
    from elysia_chat.voice import cleaners_ja as ja
    from elysia_chat.voice import cleaners_zh as zh

    readers: dict[str, dict[Language, Reader]] = {
        "chinese_cleaners": {"zh": zh.bopomofo_with_stop},
        "chinese_cleaners (pinyin)": {"zh": zh.numbered_pinyin},
        "japanese_cleaners": {"ja": lambda text: _stopped(ja.romaji(text), letters_only=True)},
        "japanese_cleaners2": {"ja": lambda text: _stopped(ja.romaji_with_ts(text), letters_only=True)},
        "zh_ja_mixture_cleaners": {"zh": _mixed(zh.romaji), "ja": _mixed(ja.mixture)},
        "cjks_cleaners": {"zh": _mixed(zh.lazy_ipa), "ja": _mixed(ja.lazy_ipa), "en": _mixed(en.lazy_ipa)},
        "cjke_cleaners": {"zh": _mixed(zh.plain_ipa), "ja": _mixed(ja.plain_ipa), "en": _mixed(en.plain_ipa)},
        "cjke_cleaners2": {"zh": _mixed(zh.ipa), "ja": _mixed(ja.ipa), "en": _mixed(en.ipa)},
        "english_cleaners2": {"en": en.espeak},
    }
    return {name: Cleaner(name, table) for name, table in readers.items()}


def _mixed(reader: Reader) -> Reader:
    """Return a reader whose symbols end as those of the cleaners for several languages do: with a mark, no space."""
    return lambda text: _stopped(reader(text).rstrip(), letters_only=False)


def _stopped(symbols: str, *, letters_only: bool) -> str:
    last = symbols[-1:]
    lacks = (last.isascii() and last.isalpha()) if letters_only else bool(last) and last not in _ENDS
    return f"{symbols}." if lacks else symbols
