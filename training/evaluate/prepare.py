"""First step: questions and fixed prompts become whole prompts, passages included, exactly as in the chat."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, TypeVar, get_args

import yaml
from langchain_core.documents import Document

from elysia_chat.chains.evaluation import QuestionSet
from elysia_chat.chains.language import Language, detect_language
from elysia_chat.chains.prompt import TokenCounter, Voice, build_prompt
from elysia_chat.training.evaluate.files import Arm, Kind, Message, Passage, PreparedItem, PreparedPrompts

if TYPE_CHECKING:
    from elysia_chat.kb.card import CharacterCard

Item = TypeVar("Item")
Search = Callable[[str, int], Sequence[Document]]
"""Finds the best n passages for a question."""
SEARCHED = 5
_KINDS: tuple[Kind, ...] = ("introduction", "everyday", "general")
_LISTS: Mapping[Kind, str] = {"introduction": "introductions", "everyday": "everyday", "general": "general"}
_ROLES = {"system": "system", "human": "user", "ai": "assistant"}


@dataclass(frozen=True)
class World:
    """A set of questions and where their answers are found.

    Attributes:
        name: what reports call it.
        questions: with and without an answer in the documents.
        search: over the documents of this world.
    """

    name: str
    questions: QuestionSet
    search: Search


@dataclass(frozen=True)
class PromptSettings:
    """How prompts are built; the same as in the chat.

    Attributes:
        k: passages that reach the prompt.
        count_tokens: measures a text; needed for `prompt_tokens`.
        prompt_tokens: budget of the prompt.
    """

    k: int = 4
    count_tokens: TokenCounter | None = None
    prompt_tokens: int | None = None


@cache
def fixed_prompts() -> dict[str, dict[Language, tuple[str, ...]]]:
    """Return the prompts that are the same for every persona: `introductions`, `everyday`, `general` by language."""
    text = files("elysia_chat.training.evaluate").joinpath("prompts.yaml").read_text(encoding="utf-8")
    return {
        name: {language: tuple(prompts[language]) for language in get_args(Language)}
        for name, prompts in yaml.safe_load(text).items()
    }


def prepare(
    persona: str,
    card: "CharacterCard",
    worlds: Sequence[World],
    *,
    search: Search | None = None,
    arms: Sequence[Arm] = ("rag", "plain"),
    languages: Sequence[Language] = ("zh", "en"),
    limit: int | None = None,
    settings: PromptSettings = PromptSettings(),
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PreparedPrompts:
    """Build every prompt of an evaluation.

    Args:
        persona: its name.
        card: who speaks.
        worlds: sets of questions, each with its own search.
        search: over the persona's own lore, for the fixed prompts; without it they are asked without passages.
        arms: "rag" asks with passages, "plain" without; both give the comparison.
        languages: of the fixed prompts.
        limit: at most so many fixed prompts of each list and language, spread evenly.
        settings: how prompts are built.
        progress: called with (done, total).
    """
    voices: dict[Language, Voice] = {language: card.localized(language) for language in get_args(Language)}
    asked = [*_questions_of(worlds), *_fixed(languages, search, limit)]
    items: list[PreparedItem] = []
    for number, one in enumerate(asked, 1):
        found = list(one.search(one.question, max(SEARCHED, settings.k))) if one.search and "rag" in arms else []
        items += [_item(one, arm, voices, found, settings) for arm in arms]
        progress(number, len(asked))
    names = tuple(dict.fromkeys([voice.name for voice in voices.values()] + [card.data.name]))
    short = (card.data.nickname,) if card.data.nickname and card.data.nickname not in names else ()
    return PreparedPrompts(persona=persona, names=names, nicknames=short, items=tuple(items))


def thin_out(world: World, limit: int) -> World:
    """Return a world with at most so many questions with an answer, and without one, spread evenly."""
    asked = world.questions
    fewer = QuestionSet(answerable=_spread(asked.answerable, limit), unanswerable=_spread(asked.unanswerable, limit))
    return World(world.name, fewer, world.search)


def _spread(items: tuple[Item, ...], limit: int | None) -> tuple[Item, ...]:
    if limit is None or len(items) <= limit:
        return items
    return tuple(items[number * len(items) // limit] for number in range(limit))


@dataclass(frozen=True)
class _Asked:
    id: str
    set: str
    kind: Kind
    question: str
    language: Language
    search: Search | None
    accepted: tuple[str, ...] = ()
    source: str | None = None


def _questions_of(worlds: Sequence[World]) -> list[_Asked]:
    asked = []
    for world in worlds:
        for number, item in enumerate(world.questions.answerable, 1):
            language = detect_language(item.q)
            name = f"{world.name}/answerable/{number}"
            asked.append(
                _Asked(name, world.name, "answerable", item.q, language, world.search, item.any_of, item.source)
            )
        for number, question in enumerate(world.questions.unanswerable, 1):
            language = detect_language(question)
            name = f"{world.name}/unanswerable/{number}"
            asked.append(_Asked(name, world.name, "unanswerable", question, language, world.search))
    return asked


def _fixed(languages: Sequence[Language], search: Search | None, limit: int | None) -> list[_Asked]:
    prompts = fixed_prompts()
    return [
        _Asked(f"{_LISTS[kind]}/{language}/{number}", _LISTS[kind], kind, question, language, search)
        for kind in _KINDS
        for language in languages
        for number, question in enumerate(_spread(prompts[_LISTS[kind]][language], limit), 1)
    ]


def _item(
    asked: _Asked, arm: Arm, voices: Mapping[Language, Voice], found: Sequence[Document], settings: PromptSettings
) -> PreparedItem:
    prompt = build_prompt(
        voices[asked.language],
        asked.language,
        asked.question,
        found[: settings.k] if arm == "rag" and asked.search is not None else None,
        count_tokens=settings.count_tokens,
        prompt_tokens=settings.prompt_tokens,
    )
    return PreparedItem(
        id=f"{arm}/{asked.id}",
        set=asked.set,
        kind=asked.kind,
        arm=arm,
        language=asked.language,
        question=asked.question,
        messages=tuple(Message(role=_ROLES[m.type], content=str(m.content)) for m in prompt.messages),
        passages=tuple(
            Passage(document=str(p.metadata.get("document", "")), text=p.page_content) for p in prompt.passages
        ),
        found=tuple(str(p.metadata.get("document", "")) for p in found[:SEARCHED]) if arm == "rag" else (),
        accepted=asked.accepted,
        source=asked.source,
    )
