"""Which words of a passage are words of the question, for marking them."""

import re
from collections.abc import Iterable, Iterator

from elysia_chat.kb.words import fold, spans, words

_MAX_QUERY_CHARS = 2000
_CHINESE = re.compile(r"[\u3400-\u9fff]{2,}")
_COMMON_ZH = (
    "的 了 是 在 和 与 有 就 都 也 着 吗 呢 吧 啊 呀 么 把 被 对 从 向 而 或 及 但 这 那 你 我 他 她 它 们 我们 你们 "
    "他们 她们 什么 怎么 怎样 如何 为什么 哪 哪里 哪个 哪些 谁 几 多少 请 告诉 一 个 一个"
)
_COMMON_EN = (
    "the a an of to in on at for with and or is are was were be been do does did what which who whom whose when "
    "where why how it its this that these those i you he she they we me my your his her their our tell about can could"
)
_COMMON = frozenset(f"{_COMMON_ZH} {_COMMON_EN}".split())


def matching_spans(query: str, text: str) -> list[tuple[int, int]]:
    """Return where words of the query stand in the text, as (start, end) in characters, in order, without overlap.

    Words that say nothing (的, 什么, the, of) are not marked. Case and width of letters do not matter.
    """
    wanted = {word for word in words(query[:_MAX_QUERY_CHARS]) if word not in _COMMON}
    if not wanted:
        return []
    whole_words = [(start, end) for word, start, end in spans(text) if word in wanted]
    merged: list[tuple[int, int]] = []
    for start, end in sorted([*whole_words, *_inside_words(wanted, text)]):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _inside_words(wanted: Iterable[str], text: str) -> Iterator[tuple[int, int]]:
    """Yield where Chinese words of two characters or more stand, also inside longer words of the text."""
    chinese = [re.escape(word) for word in wanted if _CHINESE.fullmatch(word)]
    folded = fold(text)
    if not chinese or len(folded) != len(text):
        return
    for match in re.finditer("|".join(sorted(chinese, key=len, reverse=True)), folded):
        yield match.span()
