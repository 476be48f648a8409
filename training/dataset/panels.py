"""Panels: several questions put to the same passages.

The prompts of a panel begin alike, so that training reads their passages once for all of them; and telling apart what
several questions on the same passages ask for is what a reader has to learn.
"""

from collections.abc import Sequence
from random import Random

from elysia_chat.training.dataset.compose import (
    Asked,
    answer_body,
    asked_name,
    fact_question,
    inject_into,
    prompt_size,
    rank_others,
)
from elysia_chat.training.dataset.lexicon import entity_name
from elysia_chat.training.dataset.lore import LoreQuestion, absent_question
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.questions import bare_question, dress, restated, second_person, too_near
from elysia_chat.training.dataset.reading import ReadingQuestion, reading_body
from elysia_chat.training.dataset.voice import Speaker, affirm, refuse
from elysia_chat.training.dataset.world import Stated, World, attributes


def shown_of_world(rng: Random, pool: Sequence[Passage]) -> list[Passage]:
    """Choose passages of a world that a retriever might return together: of alike things and attributes."""
    started = [passage for passage in pool if passage.stated]
    if not started:
        return []
    first = rng.choice(started)
    stated = rng.choice(first.stated)
    others = rank_others(rng, pool, stated.fact.entity, stated.fact.attribute, [first])
    shown = [first, *others[: prompt_size(rng) - 1]]
    rng.shuffle(shown)
    return shown


def fact_panel(
    rng: Random, world: World, pool: Sequence[Passage], speaker: Speaker, shares: tuple[float, float], count: int
) -> tuple[list[Passage], list[Asked]]:
    """Ask for facts of a world that some passages state, and for others that they do not.

    Args:
        rng: the source of chance.
        world: the world.
        pool: its passages.
        speaker: who answers.
        shares: of questions on what is missing, and of panels with an instruction in a passage.
        count: number of questions.
    """
    missing, injected = shares
    shown = shown_of_world(rng, pool)
    if rng.random() < injected:
        shown = inject_into(rng, shown, speaker.language)
    there = [(number, item) for number, passage in enumerate(shown, 1) for item in passage.stated]
    rng.shuffle(there)
    asked: list[Asked] = []
    for number, stated in there[: max(1, round(count * (1 - missing)))]:
        found = _stated_question(rng, stated, shown, number, speaker)
        if found:
            asked.append(found)
    wanted = round(len(asked) * missing / (1 - missing) + rng.random() - 0.5) if asked else 1
    for _ in range(wanted):
        found = _missing_question(rng, world, shown, speaker)
        if found:
            asked.append(found)
    return shown, asked


def _stated_question(
    rng: Random, stated: Stated, shown: Sequence[Passage], number: int, speaker: Speaker
) -> Asked | None:
    fact, language, passage = stated.fact, speaker.language, shown[number - 1]
    name = asked_name(rng, fact.entity, language, [passage])
    able = bool(fact.attribute.inverse[language]) and not fact.entity.own and language == fact.entity.language
    inverse = able and rng.random() < 0.24 and fact.value not in fact.entity.name
    named = fact.entity.name in passage.text + passage.title
    if not named and (inverse or name != "you"):
        return None
    question = dress(rng, language, bare_question(rng, stated, language, name, inverse=inverse))
    expected = fact.entity.name if inverse else fact.value
    body = answer_body(rng, stated, passage, language, fact.entity.name if inverse else name)
    if expected.casefold() not in body.casefold():
        body = restated(rng, stated, language, fact.entity.name)
    if expected.casefold() not in body.casefold():
        return None
    return Asked(question, affirm(rng, speaker, body, number), tuple(shown), fact.key, (expected,), number, "fact")


def _missing_question(rng: Random, world: World, shown: Sequence[Passage], speaker: Speaker) -> Asked | None:
    """Ask for what these passages nearly hold: another attribute of a thing in them, or the same of another thing."""
    language = speaker.language
    present = {item.fact.entity for passage in shown for item in passage.stated} or set(world.entities)
    entity = rng.choice(sorted(present, key=lambda item: item.key))
    held = {item.fact.attribute.key for passage in shown for item in passage.stated if item.fact.entity is entity}
    alike = {item.fact.attribute.key for passage in shown for item in passage.stated if item.fact.entity is not entity}
    own = {fact.attribute.key: fact for fact in entity.facts}
    options = [
        item for item in attributes(entity.kind)
        if not any(too_near(item.key, key) for key in held)
        and not (item.key in own and any(own[item.key].value in passage.text for passage in shown))
    ]  # fmt: skip
    near = [item for item in options if item.key in alike]
    also = [item for item in options if item.key in own]
    chance = rng.random()
    pick = near if near and chance < 0.45 else also if also and chance < 0.7 else options
    if not pick:
        return None
    attribute = rng.choice(pick)
    name = asked_name(rng, entity, language, shown)
    if chance > 0.9:
        held_ones = [item for passage in shown for item in passage.stated]
        attribute = rng.choice(held_ones).fact.attribute if held_ones else attribute
        name = entity_name(rng, attribute.kind, language)
        if any(name in passage.text for passage in shown):
            return None
    question = dress(rng, language, second_person(rng.choice(attribute.questions[language]), language, name))
    key = f"{entity.key}/{attribute.key}=?"
    return Asked(question, refuse(rng, speaker), tuple(shown), key, (), 0, "refusal")


def reading_panel(
    rng: Random, speaker: Speaker, questions: Sequence[ReadingQuestion], pool: Sequence[Passage], count: int
) -> tuple[list[Passage], list[Asked]]:
    """Ask the questions of one natural text, and some of another whose passages were not found."""
    document = rng.choice(questions).passage.document
    own = [item for item in questions if item.passage.document == document]
    pieces = [item for item in pool if item.document == document]
    shown = rng.sample(pieces, min(len(pieces), 3))
    strangers = rng.sample(list(pool), min(len(pool), 4))
    shown += [item for item in strangers if item.document != document][: max(0, prompt_size(rng) - len(shown))]
    rng.shuffle(shown)
    asked: list[Asked] = []
    for item in rng.sample(own, min(len(own), count - 1)):
        place = next((number for number, passage in enumerate(shown, 1) if passage is item.passage), 0)
        question = dress(rng, "zh", item.question.rstrip("？?"), tail=False)
        answer = item.answer.rstrip("。！？，")
        if place:
            said = affirm(rng, speaker, reading_body(rng, item), place)
            asked.append(Asked(question, said, tuple(shown), item.key, (answer,), place, "reading"))
        elif not any(answer in passage.text for passage in shown):
            asked.append(Asked(question, refuse(rng, speaker), tuple(shown), f"{item.key}?", (), 0, "reading_refusal"))
    other = rng.choice(questions)
    if rng.random() < 0.6 and other.passage.document not in {item.document for item in shown}:
        question = dress(rng, "zh", other.question.rstrip("？?"), tail=False)
        if not any(other.answer in passage.text for passage in shown):
            asked.append(Asked(question, refuse(rng, speaker), tuple(shown), f"{other.key}?", (), 0, "reading_refusal"))
    return shown, asked


def lore_panel(
    rng: Random, speaker: Speaker, passages: Sequence[Passage], questions: Sequence[LoreQuestion], count: int
) -> tuple[list[Passage], list[Asked]]:
    """Ask what the persona's own documents say, and what they do not."""
    start = rng.choice(questions).passage if questions else rng.choice(passages)
    same = [item for item in passages if item.document == start.document and item is not start]
    rest = [item for item in passages if item.document != start.document]
    shown = [start, *rng.sample(same, min(len(same), 2)), *rng.sample(rest, min(len(rest), 2))][: prompt_size(rng)]
    rng.shuffle(shown)
    asked: list[Asked] = []
    for number, passage in enumerate(shown, 1):
        for item in questions:
            if item.passage is passage:
                question = dress(rng, "zh", rng.choice(item.wordings))
                said = affirm(rng, speaker, item.sentence.rstrip("。！？"), number)
                key = f"{passage.document}/{item.answer}"
                asked.append(Asked(question, said, tuple(shown), key, (item.answer,), number, "lore"))
    rng.shuffle(asked)
    asked = asked[: count - 2]
    for _ in range(max(1, len(asked) // 3)):
        found = absent_question(rng, shown, passages)
        if found:
            question, key = found
            asked.append(Asked(question, refuse(rng, speaker), tuple(shown), key, (), 0, "lore_refusal"))
    return shown, asked


def empty_panel(rng: Random, world: World, pool: Sequence[Passage], speaker: Speaker, count: int) -> list[Asked]:
    """Ask for facts when nothing was found at all."""
    made = (fact_question(rng, world, pool, speaker) for _ in range(count))
    plain = [item for item in made if item and "你" not in item.question and "you" not in item.question.casefold()]
    return [Asked(item.question, refuse(rng, speaker), (), f"{item.fact}?", (), 0, "empty") for item in plain]
