"""The share of each kind of example, and the making of one unit of a dataset."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from random import Random

from elysia_chat.training.dataset.compose import Asked, build_example, evidence, follow_up
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.lore import LoreQuestion
from elysia_chat.training.dataset.manners import Passage, write_passages
from elysia_chat.training.dataset.panels import empty_panel, fact_panel, lore_panel, reading_panel
from elysia_chat.training.dataset.reading import ReadingQuestion
from elysia_chat.training.dataset.scenes import scene_panel
from elysia_chat.training.dataset.talk import Dialogue, general_talk, introduction, talk_example
from elysia_chat.training.dataset.voice import Speaker, refuse, stranger
from elysia_chat.training.dataset.world import World, make_world
from elysia_chat.training.errors import DatasetError


@dataclass(frozen=True)
class Mix:
    """Relative weights of the panels, and shares within them.

    Attributes:
        facts: questions on invented worlds, and questions that they nearly answer.
        scenes: questions on hand-written passages.
        crossed: the same in the other language.
        reading: questions of a reading-comprehension file, if one is given.
        lore: questions on the persona's own documents.
        follow_ups: second questions by a pronoun.
        talk: small talk, comfort and introductions.
        empty: factual questions for which nothing was found.
        missing: share of the questions of `facts` that ask for what is not there.
        other_voices: share of panels in the voice of another character.
        english: share of panels in English.
        injected: share of `facts` panels with an instruction in a passage.
        evidence: share of panels in which each question has only the sentences that the search would choose for it.
        lost: share of those questions whose answer the search has missed, so that it is not known.
        questions: most questions a panel.
    """

    facts: float = 44
    scenes: float = 18
    crossed: float = 8
    reading: float = 11
    lore: float = 4
    follow_ups: float = 7
    talk: float = 7
    empty: float = 1
    missing: float = 0.27
    other_voices: float = 0.2
    english: float = 0.42
    injected: float = 0.05
    evidence: float = 0.6
    lost: float = 0.06
    questions: float = 8

    @classmethod
    def from_mapping(cls, weights: dict[str, float] | None) -> "Mix":
        """Build a mix from a mapping with some of the fields.

        Raises:
            DatasetError: an unknown field or a negative weight.
        """
        known = {field.name for field in fields(cls)}
        wrong = sorted(set(weights or {}) - known)
        if wrong:
            msg = f"Unknown part of the mix: {', '.join(wrong)}; known: {', '.join(sorted(known))}."
            raise DatasetError(msg)
        if any(value < 0 for value in (weights or {}).values()):
            msg = "The weights of the mix must not be negative."
            raise DatasetError(msg)
        return cls(**(weights or {}))


PARTS = ("facts", "scenes", "crossed", "reading", "lore", "follow_ups", "talk", "empty")
_PANELS_A_UNIT = 4


@dataclass(frozen=True)
class Material:
    """Everything that units are made of, apart from chance."""

    mix: Mix
    voices: dict[str, Speaker]
    dialogues: list[Dialogue]
    lore: list[Passage]
    lore_questions: list[LoreQuestion]
    reading: list[ReadingQuestion]
    reading_passages: list[Passage]


@dataclass(frozen=True)
class Scenery:
    """A world with its passages and its place in the dataset."""

    world: World
    passages: list[Passage]
    key: str


def make_unit(material: Material, seed: str) -> list[Example]:
    """Make the panels of one unit: one invented world with some of everything around it.

    The same seed gives the same examples. Units share no invented fact and no invented document.
    """
    rng = Random(seed)  # noqa: S311 (a reproducible draw, no secret)
    mix = material.mix
    english = max(0.0, mix.english - 0.1)
    style = rng.choices(("zh", "en", "mixed"), weights=(max(0.0, 0.8 - english), english, 0.2))[0]
    own = {lang: voice.name for lang, voice in material.voices.items()} if rng.random() < 0.12 else None
    world = make_world(rng, seed, style, own)
    passages = write_passages(rng, world)
    examples: list[Example] = []
    for part in rng.choices(PARTS, weights=[getattr(mix, part) for part in PARTS], k=_PANELS_A_UNIT):
        key = f"{seed}/{len(examples)}"
        language = rng.choice(world.languages)
        if part in ("reading", "lore"):
            language = "zh"
        if part in ("scenes", "crossed", "talk"):
            language = "en" if rng.random() < mix.english else "zh"
        speaker = material.voices[language] if rng.random() >= mix.other_voices else stranger(rng, language)
        if own and part in ("facts", "follow_ups"):
            speaker = material.voices[language]
        made = _panel(rng, part, material, speaker, Scenery(world, passages, key))
        examples += [replace(example, extra={"group": key}) for example in made]
    return examples


def _panel(rng: Random, part: str, material: Material, speaker: Speaker, scenery: Scenery) -> list[Example]:
    mix, world, passages = material.mix, scenery.world, scenery.passages
    language, count = speaker.language, int(mix.questions)
    shown: list[Passage] = []
    asked: list[Asked] = []
    match part:
        case "facts":
            shown, asked = fact_panel(rng, world, passages, speaker, (mix.missing, mix.injected), count)
        case "scenes" | "crossed":
            style = language if part == "scenes" else "mixed"
            pool = _elsewhere(rng, material, passages, language)
            shown, asked = scene_panel(rng, speaker, pool, f"{scenery.key}.scene", style=style, count=count)
        case "reading" if material.reading:
            shown, asked = reading_panel(rng, speaker, material.reading, material.reading_passages, count)
        case "lore" if material.lore:
            shown, asked = lore_panel(rng, speaker, material.lore, material.lore_questions, count)
        case "follow_ups":
            made = [follow_up(rng, world, passages, speaker) for _ in range(2)]
            return [example for example in made if example]
        case "talk":
            return _talk(rng, material, speaker, passages, count)
        case "empty":
            asked = empty_panel(rng, world, passages, speaker, count)
    if rng.random() >= mix.evidence:
        return [_example(speaker, item, shown) for item in asked]
    return [_cut(rng, speaker, item, shown, mix.lost) for item in asked]


def _cut(rng: Random, speaker: Speaker, asked: Asked, shown: Sequence[Passage], lost: float) -> Example:
    """Ask with the evidence alone; where that misses the answer, it is not known."""
    stated = [item.fact for passage in shown for item in passage.stated]
    needed = [fact.value for fact in stated if fact.key == asked.fact] or asked.expected
    found = evidence(rng, asked.question, shown, asked.source, needed)
    if found is None or (asked.source and not _says(found[0][found[1] - 1], asked.expected)):
        return _example(speaker, asked, shown)
    passages, source = found
    if source and rng.random() < lost:
        passages = [item for number, item in enumerate(passages, 1) if number != source]
        if not any(_says(item, asked.expected) for item in passages):
            missed = replace(
                asked, answer=refuse(rng, speaker), fact=f"{asked.fact}?", expected=(), source=0, kind="lost_refusal"
            )
            return _example(speaker, missed, passages)
        passages = found[0]
    answer = asked.answer.replace(f"[{asked.source}]", f"[{source}]") if source else asked.answer
    return _example(speaker, replace(asked, answer=answer, source=source), passages)


def _says(passage: Passage, expected: Sequence[str]) -> bool:
    """Tell whether one of some words stands in a passage or above it."""
    text = f"{passage.title}\n{passage.heading}\n{passage.text}".casefold()
    return any(words.casefold() in text for words in expected)


def _talk(rng: Random, material: Material, speaker: Speaker, passages: list[Passage], count: int) -> list[Example]:
    around = _around(rng, material, passages)
    if around and rng.random() < material.mix.evidence:
        around, _ = evidence(rng, "", around) or (around, 0)
    dialogues = material.dialogues if speaker.style == "elysia" else general_talk(speaker.language)
    made: list[Example] = [introduction(rng, speaker, material.dialogues, around)]
    for _ in range(count - 2):
        example = talk_example(rng, speaker, dialogues, around)
        if example:
            made.append(example)
    return [replace(example, documents=()) for example in made]


def _example(speaker: Speaker, asked: Asked, shown: Sequence[Passage]) -> Example:
    return build_example(
        speaker, asked.question, shown, asked.answer,
        kind=asked.kind, facts=(asked.fact,), expected=asked.expected, source=asked.source,
    )  # fmt: skip


def _elsewhere(rng: Random, material: Material, passages: list[Passage], language: str) -> list[Passage]:
    """Return passages of other documents to stand beside a scene: of the world, and of natural text."""
    pool = [item for item in passages if item.language == language or rng.random() < 0.3]
    if language == "zh" and material.reading_passages and rng.random() < 0.4:
        pool = rng.sample(material.reading_passages, min(4, len(material.reading_passages))) + pool[:2]
    return pool


def _around(rng: Random, material: Material, passages: list[Passage]) -> list[Passage] | None:
    """Return what stands in the prompt of small talk: passages of the lore or a world, nothing, or no retrieval."""
    chance = rng.random()
    if chance < 0.12:
        return None
    if chance < 0.3:
        return []
    pool = material.lore if material.lore and chance < 0.75 else passages
    return rng.sample(pool, min(len(pool), rng.choice((2, 3, 4, 4, 4, 5))))
