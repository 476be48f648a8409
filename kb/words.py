"""Text to words, for the lexical index and for highlighting: jieba for Chinese, folded case and width for all."""

import logging
import re
import threading
import unicodedata
from collections.abc import Iterator
from typing import Any

from elysia_chat.configs.paths import home

_HAS_WORD_CHARACTER = re.compile(r"[^\W_]")
_loading = threading.Lock()
_tokenizer: Any = None


def words(text: str) -> list[str]:
    """Return the words of a text in order, long Chinese words followed by the shorter ones inside them.

    Case and width are folded; punctuation is left out. Loads jieba's dictionary on the first call of a process.
    """
    cut = _jieba().cut_for_search(fold(text))
    return [word for word in cut if _HAS_WORD_CHARACTER.search(word)]


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (folded word, start, end) for the words of a text, offsets in characters of the text as given."""
    for word, start, end in _jieba().tokenize(text, mode="search"):
        if _HAS_WORD_CHARACTER.search(word):
            yield fold(word), start, end


def fold(text: str) -> str:
    """Return the text without differences of case and width (full-width Latin, compatibility forms)."""
    return unicodedata.normalize("NFKC", text).casefold()


def _jieba() -> Any:
    """Return the segmenter; its tables are only read once they are loaded, so threads may share it."""
    global _tokenizer
    with _loading:
        if _tokenizer is None:
            _tokenizer = _load()
    return _tokenizer


def _load() -> Any:
    import jieba

    jieba.setLogLevel(logging.CRITICAL)
    tokenizer = jieba.Tokenizer()
    # jieba would otherwise read its cache from the shared temporary folder, where anyone may have put it.
    folder = home() / "cache"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        logging.getLogger(__name__).info("jieba's dictionary is not cached: %s", error)
    tokenizer.tmp_dir = str(folder)
    tokenizer.initialize()
    return tokenizer
