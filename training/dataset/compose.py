"""Prompts out of passages and questions, the way that retrieval would put them together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from langchain_core.documents import Document

from elysia_chat.chains.prompt import Turn, build_prompt
from elysia_chat.kb.sentences import keep_sentences, sentences, with_context
from elysia_chat.kb.words import words
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.questions import bare_question, dress, quoted, restated, too_near
from elysia_chat.training.dataset.voice import Speaker, affirm, refuse, split
from elysia_chat.training.dataset.world import Attribute, Entity, Stated, World

_ENDS = "。！？.!?…"
_SENTENCES = (2, 3, 4, 4, 4, 4, 5, 6)
"""How many sentences reach a prompt: mostly as many as the chat takes."""
_ROLE = {"system": "system", "human": "user", "ai": "assistant"}


@dataclass(frozen=True)
class Asked:
    """A question put to a set of passages."""

    question: str
    answer: str
    passages: tuple[Passage, ...]
    fact: str
    expected: tuple[str, ...]
    source: int
    kind: str


def to_document(passage: Passage) -> Document:
    """Return a passage as retrieval hands it to the prompt."""
    heading = f"{passage.title} > {passage.heading}" if passage.heading else passage.title
    return Document(
        page_content=passage.text, metadata={"title": passage.title, "heading": heading, "document": passage.document}
    )


def build_example(
    speaker: Speaker,
    question: str,
    passages: Sequence[Passage] | None,
    answer: str,
    *,
    kind: str,
    history: Sequence[Turn] = (),
    facts: tuple[str, ...] = (),
    expected: tuple[str, ...] = (),
    source: int = 0,
) -> Example:
    """Build an example with the very prompt that the chat builds."""
    documents = None if passages is None else [to_document(passage) for passage in passages]
    prompt = build_prompt(speaker, speaker.language, question, documents, history)  # type: ignore[arg-type]
    messages = [{"role": _ROLE[message.type], "content": str(message.content)} for message in prompt.messages]
    origins = tuple(dict.fromkeys(passage.document for passage in passages or ()))
    return Example(kind, speaker.language, messages, answer, facts, origins, expected, source)


def arrange(rng: Random, right: Passage | None, others: Sequence[Passage], size: int) -> tuple[list[Passage], int]:
    """Put the right passage among others; mostly it is one of the first two, as a retriever would have it.

    Returns:
        The passages, and the number of the right one from 1 (0 without one).
    """
    chosen = list(others[: size - 1 if right else size])
    if right is None:
        return chosen, 0
    place = min(len(chosen), rng.choices((0, 1, 2, 3, 4), weights=(50, 22, 14, 9, 5))[0])
    chosen.insert(place, right)
    return chosen, place + 1


def evidence(
    rng: Random, question: str, passages: Sequence[Passage], source: int = 0, needed: Sequence[str] = ()
) -> tuple[list[Passage], int] | None:
    """Cut passages to the few sentences that the search of the chat would choose for a question.

    Sentences that share words with the question are chosen before others, and the one that answers before all of them;
    passages of which none is chosen are left out.

    Args:
        rng: the source of chance.
        question: what is asked.
        passages: what was found.
        source: number of the passage that answers, from 1; 0 where none does.
        needed: words of which one stands in the sentence that answers.

    Returns:
        The passages, and the number of the one that answers; None where no single sentence of it does.
    """
    asked = set(words(question))
    scores: dict[tuple[int, int], float] = {}
    right: list[tuple[int, int]] = []
    for place, passage in enumerate(passages):
        for number, part in enumerate(sentences(passage.text)):
            alike = len(asked & set(words(part)))
            scores[place, number] = min(2.0, 0.5 * alike) + rng.gauss(0, 0.6)
            if place + 1 == source and any(item.casefold() in part.casefold() for item in needed):
                right.append((place, number))
    if source and not right:
        return None
    answering = max(right, key=lambda spot: scores[spot]) if right else None
    if answering is not None:
        scores[answering] += 1.5
    ranked = sorted(scores, key=lambda spot: (spot != answering, -scores[spot]))
    chosen: dict[int, set[int]] = {}
    best: dict[int, float] = {}
    for spot in ranked[: rng.choice(_SENTENCES)]:
        chosen.setdefault(spot[0], set()).add(spot[1])
        best[spot[0]] = max(best.get(spot[0], 0.0), scores[spot])
    order = sorted(best, key=lambda place: -(best[place] + rng.gauss(0, 0.6)))
    kept = []
    for place in order:
        text = passages[place].text
        kept.append(replace(passages[place], text=keep_sentences(text, with_context(sentences(text), chosen[place]))))
    return kept, order.index(source - 1) + 1 if source else 0


def rank_others(
    rng: Random, pool: Sequence[Passage], entity: Entity, attribute: Attribute, avoid: Sequence[Passage] = ()
) -> list[Passage]:
    """Order the other passages as a retriever might: the same thing and the same attribute first."""

    def score(passage: Passage) -> float:
        same = 2.0 * (entity.key in passage.entities)
        alike = 1.6 * any(item.fact.attribute.key == attribute.key for item in passage.stated)
        near = 0.7 * any(item.fact.attribute.group == attribute.group for item in passage.stated)
        return same + alike + near + rng.gauss(0, 0.8)

    return [
        passage
        for _, passage in sorted(((score(item), item) for item in pool if item not in avoid), key=lambda pair: -pair[0])
    ]


def prompt_size(rng: Random) -> int:
    """Draw how many passages a prompt has."""
    return rng.choices((1, 2, 3, 4, 5), weights=(5, 9, 18, 60, 8))[0]


def asked_name(rng: Random, entity: Entity, language: str, shown: Sequence[Passage]) -> str:
    """Choose the name to ask by: one that the passages show."""
    if entity.own:
        return "you" if rng.random() < 0.7 else entity.names[language]
    if language == entity.language:
        return entity.name
    other = entity.names[language]
    return other if any(other in passage.text or other in passage.title for passage in shown) else entity.name


def fact_question(rng: Random, world: World, pool: Sequence[Passage], speaker: Speaker) -> Asked | None:
    """Ask for a fact that one of the passages states."""
    with_facts = [passage for passage in pool if passage.stated]
    if not with_facts:
        return None
    passage = rng.choice(with_facts)
    stated = rng.choice(passage.stated)
    fact, language = stated.fact, speaker.language
    name = asked_name(rng, fact.entity, language, [passage])
    inverse = rng.random() < 0.22 and bool(fact.attribute.inverse[language]) and not fact.entity.own
    if inverse and (language != fact.entity.language or fact.value in fact.entity.name):
        inverse = False
    question = dress(rng, language, bare_question(rng, stated, language, name, inverse=inverse))
    shown, source = arrange(
        rng, passage, rank_others(rng, pool, fact.entity, fact.attribute, [passage]), prompt_size(rng)
    )
    if name != "you" and inverse and fact.entity.name not in passage.text + passage.title:
        return None
    body = answer_body(rng, stated, passage, language, name if not inverse else fact.entity.name)
    expected = fact.entity.name if inverse else fact.value
    if expected.casefold() not in body.casefold():
        body = restated(rng, stated, language, fact.entity.name)
    if expected.casefold() not in body.casefold():
        return None
    return Asked(question, affirm(rng, speaker, body, source), tuple(shown), fact.key, (expected,), source, "fact")


def answer_body(rng: Random, stated: Stated, passage: Passage, language: str, name: str) -> str:
    """Word the fact: copied from the passage, stated anew, or the value alone."""
    fact = stated.fact
    subject = "me" if name == "you" else name
    sentence = stated.sentence.strip().rstrip(_ENDS)
    chance = rng.random()
    if language != fact.entity.language:
        if stated.quotable and chance < 0.35 and stated.sentence in passage.text:
            return quoted(rng, language, sentence)
        return restated(rng, stated, language, subject)
    limit = 70 if language == "zh" else 160
    if (
        name != "you"
        and stated.quotable
        and chance < 0.42
        and len(sentence) <= limit
        and stated.sentence in passage.text
    ):
        return sentence
    if chance > 0.93 and len(fact.value) > 1:
        return f"是{fact.value}" if language == "zh" and fact.attribute.group != "why" else fact.value
    return restated(rng, stated, language, subject)


def turn_of(asked: Asked) -> Turn:
    """Return a question with its answer as an earlier turn of the conversation."""
    return Turn(asked.question, asked.answer)


def follow_up(rng: Random, world: World, pool: Sequence[Passage], speaker: Speaker) -> Example | None:
    """Ask for a second fact of the same thing by a pronoun, after a first question and its answer."""
    language = speaker.language
    candidates = [
        item
        for item in world.entities
        if item.language == language and not item.own and len(_stated_of(pool, item)) > 1
    ]
    if not candidates:
        return None
    entity = rng.choice(candidates)
    (_, first), (passage, second) = rng.sample(_stated_of(pool, entity), 2)
    if first.fact is second.fact:
        return None
    opener = dress(rng, language, bare_question(rng, first, language, entity.name, inverse=False))
    reply = affirm(rng, speaker, restated(rng, first, language, entity.name), 1)
    asked = _pronoun_question(rng, second, language, entity)
    shown, source = arrange(
        rng, passage, rank_others(rng, pool, entity, second.fact.attribute, [passage]), prompt_size(rng)
    )
    history = [Turn(opener, reply)]
    if rng.random() < 0.2:
        small = (
            rng.choice(("谢谢你。", "原来如此。", "哦哦"))
            if language == "zh"
            else rng.choice(("Thank you.", "I see.", "Oh!"))
        )
        history.append(Turn(small, rng.choice(speaker.wording("close")) if language == "en" else "不客气呀。"))
    missing = rng.random() < 0.22
    if missing:
        shown = [
            item
            for item in rank_others(rng, pool, entity, second.fact.attribute)
            if not item.states(second.fact) and second.fact.value not in item.text
        ][:4]
        if any(
            too_near(second.fact.attribute.key, item.fact.attribute.key)
            for one in shown
            for item in one.stated
            if item.fact.entity is entity
        ):
            return None
        return build_example(
            speaker,
            asked,
            shown,
            refuse(rng, speaker),
            kind="follow_up_refusal",
            history=history,
            facts=(f"{second.fact.key}?",),
        )
    body = restated(rng, second, language, entity.name)
    if second.fact.value.casefold() not in body.casefold():
        return None
    return build_example(
        speaker,
        asked,
        shown,
        affirm(rng, speaker, body, source),
        kind="follow_up",
        history=history,
        facts=(second.fact.key,),
        expected=(second.fact.value,),
        source=source,
    )


def _stated_of(pool: Sequence[Passage], entity: Entity) -> list[tuple[Passage, Stated]]:
    return [(passage, item) for passage in pool for item in passage.stated if item.fact.entity is entity]


def _pronoun_question(rng: Random, stated: Stated, language: str, entity: Entity) -> str:
    from elysia_chat.training.dataset.lexicon import template_file

    start = rng.choice(split(template_file("voice")["follow"][language])) if rng.random() < 0.5 else ""
    template = rng.choice(stated.fact.attribute.questions[language])
    if language == "zh":
        label = rng.choice(stated.fact.attribute.labels["zh"])
        pronoun = ("她", "他")[entity.gender] if entity.kind == "person" else "它"
        if rng.random() < 0.25:
            return f"{pronoun}的{label}呢？"
        return start + template.replace("{s}", pronoun) + "？"
    person = entity.kind == "person"
    one, whose = (("she", "her"), ("he", "his"))[entity.gender] if person else ("it", "its")
    text = template.replace("{s}'s", whose)
    for verb in ("does", "did", "is", "was", "has", "can", "do"):
        text = text.replace(f"{verb} {{s}}", f"{verb} {one}")
    objective = {"she": "her", "he": "him", "it": "it"}[one]
    text = text.replace("{s}", objective)
    return (start + text if start else text[:1].upper() + text[1:]) + "?"


def inject_into(rng: Random, passages: Sequence[Passage], language: str) -> list[Passage]:
    """Put an instruction into one of the passages, which has to be ignored."""
    from elysia_chat.training.dataset.lexicon import template_file

    shown = list(passages)
    if not shown:
        return shown
    order = rng.choice(split(template_file("voice")["inject"][language]))
    spot = rng.randrange(len(shown))
    text = shown[spot].text
    text = f"{text}\n{order}" if rng.random() < 0.7 else f"{order}\n{text}"
    shown[spot] = replace(shown[spot], text=text)
    return shown
