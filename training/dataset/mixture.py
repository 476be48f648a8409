"""The share of each kind of example, and the making of one unit of a dataset."""

from dataclasses import dataclass, fields, replace
from random import Random

from elysia_chat.training.dataset.compose import (
    Asked,
    build_example,
    fact_question,
    follow_up,
    inject,
    missing_question,
)
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.lore import lore_asked
from elysia_chat.training.dataset.manners import Passage, write_passages
from elysia_chat.training.dataset.reading import ReadingQuestion, reading_asked
from elysia_chat.training.dataset.scenes import scene_questions
from elysia_chat.training.dataset.talk import Dialogue, general_talk, introduction, talk_example
from elysia_chat.training.dataset.voice import Speaker, refuse, stranger
from elysia_chat.training.dataset.world import make_world
from elysia_chat.training.errors import DatasetError


@dataclass(frozen=True)
class Mix:
    """Relative weights of the parts; each part makes its own refusals.

    Attributes:
        facts: questions on invented worlds, and questions that they nearly answer.
        scenes: questions on hand-written passages.
        crossed: the same in the other language.
        reading: questions of a reading-comprehension file, if one is given.
        lore: questions on the persona's own documents.
        follow_ups: second questions by a pronoun.
        talk: small talk and comfort.
        introductions: who are you?
        empty: factual questions for which nothing was found.
        missing: share of `facts` that ask for what is not there.
        other_voices: share of examples in the voice of another character.
        english: share of examples in English.
        injected: share of factual examples with an instruction in a passage.
    """

    facts: float = 34
    scenes: float = 20
    crossed: float = 8
    reading: float = 15
    lore: float = 4
    follow_ups: float = 6
    talk: float = 9
    introductions: float = 3
    empty: float = 2
    missing: float = 0.26
    other_voices: float = 0.2
    english: float = 0.42
    injected: float = 0.02

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


PARTS = ("facts", "scenes", "crossed", "reading", "lore", "follow_ups", "talk", "introductions", "empty")


@dataclass(frozen=True)
class Material:
    """Everything that units are made of, apart from chance."""

    mix: Mix
    voices: dict[str, Speaker]
    dialogues: list[Dialogue]
    lore: list[Passage]
    lore_questions: list[tuple[Passage, str, str, str]]
    reading: list[ReadingQuestion]
    reading_passages: list[Passage]


def make_unit(material: Material, seed: str) -> list[Example]:
    """Make the examples of one unit: one invented world with some of everything around it.

    The same seed gives the same examples. Units share no invented fact and no invented document.
    """
    rng = Random(seed)
    mix = material.mix
    style = rng.choices(("zh", "en", "mixed"), weights=(1 - mix.english - 0.1, mix.english - 0.1, 0.2))[0]
    own = {lang: voice.name for lang, voice in material.voices.items()} if rng.random() < 0.12 else None
    world = make_world(rng, seed, style, own if own and len(own) == 2 else None)
    passages = write_passages(rng, world)
    weights = [getattr(mix, part) for part in PARTS]
    examples: list[Example] = []
    for part in rng.choices(PARTS, weights=weights, k=12):
        language = rng.choice(world.languages)
        if part in ("reading", "lore"):
            language = "zh"
        if part in ("scenes", "crossed", "talk", "introductions"):
            language = "en" if rng.random() < mix.english else "zh"
        speaker = _speaker(rng, material, language)
        if own and part in ("facts", "follow_ups") and language in material.voices:
            speaker = material.voices[language]
        examples += _part(rng, part, material, speaker, (world, passages), f"{seed}/{len(examples)}")
    return examples


def _speaker(rng: Random, material: Material, language: str) -> Speaker:
    if language not in material.voices or rng.random() < material.mix.other_voices:
        return stranger(rng, language)
    return material.voices[language]


def _part(rng: Random, part: str, material: Material, speaker: Speaker, made, key: str) -> list[Example]:  # noqa: ANN001
    world, passages = made
    language = speaker.language
    found: list[Asked | None] = []
    match part:
        case "facts":
            make = missing_question if rng.random() < material.mix.missing else fact_question
            found = [make(rng, world, passages, speaker)]
        case "scenes":
            pool = _elsewhere(rng, material, passages, language)
            found = list(scene_questions(rng, speaker, pool, f"{key}.scene", style=language, count=rng.randint(1, 3)))
        case "crossed":
            pool = _elsewhere(rng, material, passages, language)
            found = list(scene_questions(rng, speaker, pool, f"{key}.scene", style="mixed", count=rng.randint(1, 3)))
        case "reading" if material.reading:
            found = [reading_asked(rng, speaker, rng.choice(material.reading), material.reading_passages)]
        case "lore" if material.lore:
            found = [lore_asked(rng, speaker, material.lore, material.lore_questions)]
        case "follow_ups":
            example = follow_up(rng, world, passages, speaker)
            return [example] if example else []
        case "talk" | "introductions":
            shown = _around(rng, material, passages)
            if part == "introductions":
                return [introduction(rng, speaker, material.dialogues, shown)]
            dialogues = material.dialogues if speaker.style == "elysia" else general_talk(language)
            example = talk_example(rng, speaker, dialogues, shown)
            return [replace(example, documents=())] if example else []
        case "empty":
            asked = fact_question(rng, world, passages, speaker)
            if asked and "你" not in asked.question and "you" not in asked.question:
                return [
                    build_example(
                        speaker, asked.question, [], refuse(rng, speaker), kind="empty", facts=(f"{asked.fact}?",)
                    )
                ]
    return [_example(rng, speaker, asked, material.mix.injected) for asked in found if asked]


def _example(rng: Random, speaker: Speaker, asked: Asked, injected: float) -> Example:
    if rng.random() < injected:
        asked = inject(rng, asked, speaker.language)
    return build_example(
        speaker,
        asked.question,
        asked.passages,
        asked.answer,
        kind=asked.kind,
        facts=(asked.fact,),
        expected=asked.expected,
        source=asked.source,
    )


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
    if chance < 0.18:
        return []
    pool = material.lore if material.lore and chance < 0.7 else passages
    return rng.sample(pool, min(len(pool), rng.choice((2, 3, 4, 4, 4, 5))))
