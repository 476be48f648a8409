"""Questions with the passages that answer them and those that nearly do, drawn from invented worlds and scenes."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from random import Random

from elysia_chat.kb.chunk import Chunk
from elysia_chat.training.dataset.compose import rank_others
from elysia_chat.training.dataset.manners import Passage, write_passages
from elysia_chat.training.dataset.questions import bare_question, dress, too_near
from elysia_chat.training.dataset.reading import ReadingQuestion
from elysia_chat.training.dataset.scenes import Scene, fill_scene, filled_sections, join_sections, put, scenes
from elysia_chat.training.dataset.world import make_world

# Slots that name people and places: two scenes that share them are easily confused.
_NAMING = ("a", "b", "p", "t")


@dataclass(frozen=True)
class SearchQuery:
    """A question as people type it, with passages in the form in which they are indexed.

    Attributes:
        text: the question.
        answer: the words that answer it; "" where nothing does.
        positive: the passage that answers it; "" where none does.
        negatives: passages that do not.
        origin: what the question was drawn from; two queries of one origin may have one another's answer.
    """

    text: str
    answer: str
    positive: str
    negatives: tuple[str, ...]
    origin: str


@dataclass(frozen=True)
class Sources:
    """What queries are drawn from.

    Attributes:
        reading: questions on natural passages; may be empty.
        scenes: weight of the hand-written scenes.
        facts: weight of the generated worlds.
        missing: share of the questions that no passage answers.
    """

    reading: Sequence[ReadingQuestion] = ()
    scenes: float = 6.0
    facts: float = 2.0
    missing: float = 0.15

    def draw(self, seed: str) -> Iterator[SearchQuery]:
        """Yield queries without end; the same seed gives the same ones."""
        rng = Random(seed)  # noqa: S311 (a reproducible draw, no secret)
        makers: list[Callable[[], SearchQuery | None]] = [
            lambda: _of_scene(rng, self.missing),
            lambda: _of_world(rng),
            lambda: _of_reading(rng, self.reading, self.missing),
        ]
        weights = (self.scenes, self.facts, 2.0 if self.reading else 0.0)
        while True:
            query = rng.choices(makers, weights)[0]()
            if query is not None and query.negatives:
                yield query


def indexed(passage: Passage) -> str:
    """Return a passage as it is embedded and reranked."""
    return Chunk(id="", text=passage.text, document="", title=passage.title, heading=passage.heading).indexed_text


def _without(answer: str, passages: Iterable[Passage], most: int = 6) -> tuple[str, ...]:
    """Return the passages, as indexed, in which the answer does not stand."""
    texts = dict.fromkeys(indexed(item) for item in passages)
    return tuple(text for text in texts if not answer or answer.casefold() not in text.casefold())[:most]


def _of_scene(rng: Random, missing: float) -> SearchQuery | None:
    language = rng.choice(("zh", "en"))
    scene = rng.choice(scenes(language))
    asked_in = {question.language for part in scene.sections for question in part.questions if question.answer}
    if not asked_in:
        return None
    speaking = rng.choice(sorted(asked_in))
    filled = filled_sections(rng, scene, speaking)
    passages, places = join_sections(rng, filled.sections)
    without = rng.random() < missing
    options = [
        (number, question)
        for number, part in enumerate(scene.sections)
        for question in part.questions
        if bool(question.answer) != without and (without or question.language == speaking)
    ]
    if not options:
        return None
    number, question = rng.choice(options)
    answer = put(question.answer, filled.values)
    if answer.casefold() not in filled.sections[number].text.casefold():
        return None
    words = dress(rng, question.language, put(rng.choice(question.wordings), filled.spoken).rstrip("?？"), tail=False)
    others = [item for place, item in enumerate(passages) if place != places[number] or without]
    rng.shuffle(others)
    others = others[:3] + [_elsewhere(rng, scene, filled.values) for _ in range(3)]
    right = "" if without else indexed(passages[places[number]])
    return SearchQuery(words, answer, right, _without(answer, others), f"{scene.language}/{scene.title}")


def _elsewhere(rng: Random, scene: Scene, values: dict[str, str]) -> Passage:
    """Fill another scene, often with the people and places of this one."""
    while True:
        language = scene.language if rng.random() < 0.8 else ("en" if scene.language == "zh" else "zh")
        other = rng.choice(scenes(language))
        if other is not scene:
            break
    chosen = fill_scene(rng, other)
    if language == scene.language:
        chosen |= {name: values[name] for name in _NAMING if name in values and name in chosen and rng.random() < 0.6}
    sections = [
        Passage("", put(other.title, chosen), put(part.heading, chosen), put(part.text, chosen), (), language,
                frozenset())
        for part in other.sections
    ]  # fmt: skip
    return rng.choice(join_sections(rng, sections)[0])


def _of_world(rng: Random) -> SearchQuery | None:
    style = rng.choices(("zh", "en", "mixed"), weights=(4, 4, 2))[0]
    world = make_world(rng, "w", style)
    passages = write_passages(rng, world)
    stating = [item for item in passages if item.stated]
    if not stating:
        return None
    passage = rng.choice(stating)
    fact = (stated := rng.choice(passage.stated)).fact
    name = fact.entity.name
    if name not in passage.text + passage.title:
        return None
    language = fact.entity.language
    question = dress(rng, language, bare_question(rng, stated, language, name, inverse=False))
    others = [
        item
        for item in rank_others(rng, passages, fact.entity, fact.attribute, [passage])
        if not any(
            other.fact.entity is fact.entity and too_near(other.fact.attribute.key, fact.attribute.key)
            for other in item.stated
        )
    ]
    return SearchQuery(question, fact.value, indexed(passage), _without(fact.value, others), f"{name}/{fact.key}")


def _of_reading(rng: Random, questions: Sequence[ReadingQuestion], missing: float) -> SearchQuery | None:
    asked = rng.choice(questions)
    document = asked.passage.document
    pool = [item.passage for item in rng.sample(list(questions), min(len(questions), 5))]
    pool += [item.passage for item in questions if item.passage.document == document and item.passage != asked.passage]
    without = rng.random() < missing
    right = "" if without else indexed(asked.passage)
    return SearchQuery(asked.question, "" if without else asked.answer, right, _without(asked.answer, pool), document)
