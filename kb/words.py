"""Text to words, for the lexical index and for highlighting: jieba for Chinese, folded case and width for all."""

import logging
import re
import threading
import unicodedata
from collections.abc import Iterator
from typing import Any

from elysia_chat.configs.paths import home

_HAS_WORD_CHARACTER = re.compile(r"[^\W_]")
_CHINESE_RUN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]+")
_loading = threading.Lock()
_tokenizer: Any = None


def words(text: str) -> list[str]:
    """Return the words of a text in order, long Chinese words after the shorter ones inside them.

    Case and width are folded; punctuation is left out. Loads jieba's dictionary on the first call of a process.
    """
    return _cut(fold(text), guess=True)


def terms(text: str) -> list[str]:
    """Return what a text is indexed and searched by: its words, and its Chinese characters in pairs.

    Words that are not in the dictionary are not guessed, because a guess depends on what stands beside them; the pairs
    find names that way. Both raise recall (docs/retrieval.md).
    """
    folded = fold(text)
    found = _cut(folded, guess=False)
    known = set(found)
    pairs = (run[i : i + 2] for run in _CHINESE_RUN.findall(folded) for i in range(len(run) - 1))
    return found + [pair for pair in pairs if pair not in known]


def spans(text: str) -> Iterator[tuple[str, int, int]]:
    """Yield (folded word, start, end) for the words of a text, offsets in characters of the text as given."""
    for word, start, end in _jieba().tokenize(text, mode="search"):
        if _HAS_WORD_CHARACTER.search(word):
            yield fold(word), start, end


def fold(text: str) -> str:
    """Return the text without differences of case and width (full-width Latin, compatibility forms)."""
    return unicodedata.normalize("NFKC", text).casefold()


def _cut(folded: str, *, guess: bool) -> list[str]:
    return [word for word in _jieba().cut_for_search(folded, HMM=guess) if _HAS_WORD_CHARACTER.search(word)]


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
