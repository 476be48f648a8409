"""wetext, the library that writes numbers out, behind one function."""

import threading
from functools import lru_cache
from typing import Any

_lock = threading.Lock()


def normalise(text: str, language: str) -> str:
    """Return the text with numbers, dates, times, units and currency as words.

    A text that wetext's grammars do not accept, which happens with rare characters, comes back as it is.

    Args:
        text: one sentence without quotes, backslashes and braces, which are wetext's own marks.
        language: "zh", "en" or "ja".
    """
    text = " ".join(text.split())
    if not any(character.isdigit() for character in text) and language != "en":
        return text
    with _lock:
        try:
            return str(_normaliser(language).normalize(text)).replace("\\", "")
        except (AssertionError, LookupError, RuntimeError, ValueError):
            return text


@lru_cache(maxsize=3)
def _normaliser(language: str) -> Any:
    from wetext import Normalizer

    return Normalizer(lang=language, operator="tn")
