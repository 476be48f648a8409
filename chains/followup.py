"""Turns a follow-up (“她的妹妹呢？”) into a question that can be searched on its own.

Only the search uses it: the model sees the words of the user and the conversation before them.
"""

import re
from collections.abc import Callable, Sequence

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from elysia_chat.chains.language import detect_language
from elysia_chat.chains.prompt import Turn, strip_citations

Rewriter = Callable[[str, Sequence[Turn]], str]

_POINTS_BACK = re.compile(
    r"[她他它]们?|(?:^|[，,\s])(?:那么?|这个?|其|后来|然后|还有|为什么呢|为何呢)|呢[？?]?$"
    r"|\b(?:she|her|hers|he|him|his|they|them|their|theirs|it|its|that|this|those|these|there|then)\b"
    r"|^(?:and|but|so|why|how come|what about|how about|what else)\b",
    re.IGNORECASE,
)
_SHORT = {"zh": 6, "en": 12}
_CHINESE_PRONOUN = re.compile(r"[她他它](?!们)")
_ENGLISH_POSSESSIVE = re.compile(r"\b(?:her|his|its|their)\b(?=\s+[a-z])", re.IGNORECASE)
_ENGLISH_PRONOUN = re.compile(r"\b(?:she|he|him|her)\b", re.IGNORECASE)

_REWRITE = {
    "zh": "把用户最后的问题改写成一个不依赖上文也能看懂的完整问题，只输出这个问题。",
    "en": "Rewrite the user's last question so that it can be understood without the conversation. "
    "Answer with the question alone.",
}


def points_back(question: str) -> bool:
    """Say whether a question leans on what was said before it."""
    return bool(_POINTS_BACK.search(question)) or len(question.strip("？?。. ")) <= _SHORT[detect_language(question)]


def rewrite_by_rules(names: Sequence[str] = ()) -> Rewriter:
    """Return a rewriter without a model: puts the last name that was talked about in the place of the pronoun.

    Args:
        names: names of the persona's world (people, places), for example the titles of its documents.
    """
    known = sorted({name for name in names if len(name) > 1 or detect_language(name) == "zh"}, key=len, reverse=True)

    def rewrite(question: str, history: Sequence[Turn]) -> str:
        if not history or not points_back(question) or _mentions(question, known):
            return question
        name = _last_name(history, known)
        if name is None:
            return f"{history[-1].question} {question}"
        return _put_name(question, name)

    return rewrite


def rewrite_by_model(model: BaseChatModel) -> Rewriter:
    """Return a rewriter that asks the model; meant for models large enough to follow the instruction."""

    def rewrite(question: str, history: Sequence[Turn]) -> str:
        if not history:
            return question
        turns = "\n".join(f"> {turn.question}\n< {strip_citations(turn.answer)}" for turn in history[-3:])
        instruction = _REWRITE[detect_language(question)]
        reply = model.invoke([SystemMessage(instruction), HumanMessage(f"{turns}\n> {question}")], temperature=0.0)
        lines = str(reply.text).strip().splitlines()
        return lines[0].strip() if lines else question

    return rewrite


def no_rewrite(question: str, history: Sequence[Turn]) -> str:
    """Return the question as it is."""
    del history
    return question


def _mentions(text: str, names: Sequence[str]) -> bool:
    return any(name in text for name in names)


def _last_name(history: Sequence[Turn], names: Sequence[str]) -> str | None:
    """The name that was asked about last; the questions decide before the answers do."""
    for turn in reversed(history):
        for text in (turn.question, turn.answer):
            found = [(text.find(name), -len(name), name) for name in names if name in text]
            if found:
                return min(found)[2]
    return None


def _put_name(question: str, name: str) -> str:
    if _CHINESE_PRONOUN.search(question):
        return _CHINESE_PRONOUN.sub(name, question, count=1)
    if _ENGLISH_POSSESSIVE.search(question):
        return _ENGLISH_POSSESSIVE.sub(f"{name}'s", question, count=1)
    if _ENGLISH_PRONOUN.search(question):
        return _ENGLISH_PRONOUN.sub(name, question, count=1)
    return f"{name} {question}"
