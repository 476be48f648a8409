"""Questions with the passages that answer them and those that nearly do, drawn from invented worlds and scenes.

For a reranker a share of them comes with single sentences instead, since it also chooses the sentences of a passage
that reach the prompt.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from random import Random

from elysia_chat.kb.chunk import Chunk
from elysia_chat.kb.sentences import sentences
from elysia_chat.kb.words import words
from elysia_chat.training.dataset.compose import rank_others
from elysia_chat.training.dataset.manners import Passage, write_passages
from elysia_chat.training.dataset.questions import bare_question, dress, too_near
from elysia_chat.training.dataset.reading import ReadingQuestion
from elysia_chat.training.dataset.scenes import Scene, fill_scene, filled_sections, join_sections, put, scenes
from elysia_chat.training.dataset.world import make_world

# Slots that name people and places: two scenes that share them are easily confused.
_NAMING = ("a", "b", "p", "t")
# The chat scores a sentence after the one before it.
_AFTER_ANOTHER = 0.8
_COMPARED = 24


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
        sentences: share of the questions whose passages are cut into sentences, each alone or after the one before.
    """

    reading: Sequence[ReadingQuestion] = ()
    scenes: float = 6.0
    facts: float = 2.0
    missing: float = 0.15
    sentences: float = 0.0

    def draw(self, seed: str) -> Iterator[SearchQuery]:
        """Yield queries without end; the same seed gives the same ones."""
        rng = Random(seed)  # noqa: S311 (a reproducible draw, no secret)
        makers: list[Callable[[], _Drawn | None]] = [
            lambda: _of_scene(rng, self.missing),
            lambda: _of_world(rng),
            lambda: _of_reading(rng, self.reading, self.missing),
        ]
        weights = (self.scenes, self.facts, 2.0 if self.reading else 0.0)
        while True:
            drawn = rng.choices(makers, weights)[0]()
            if drawn is None:
                continue
            query = _by_sentences(rng, drawn) if rng.random() < self.sentences else _by_passages(drawn)
            if query is not None and query.negatives:
                yield query


@dataclass(frozen=True)
class _Drawn:
    """A question with its passages whole; those in `others` may hold its answer's words as well."""

    text: str
    answer: str
    right: Passage | None
    others: tuple[Passage, ...]
    origin: str


def _by_passages(drawn: _Drawn) -> SearchQuery:
    positive = indexed(drawn.right) if drawn.right else ""
    return SearchQuery(drawn.text, drawn.answer, positive, _without(drawn.answer, drawn.others), drawn.origin)


def _by_sentences(rng: Random, drawn: _Drawn) -> SearchQuery | None:
    """Put the sentence that answers among those around it; None where the answer stands in none or several."""
    before = int(rng.random() < _AFTER_ANOTHER)
    parts = _cut(drawn.right, before) if drawn.right else []
    right = [item for item, sentence in parts if drawn.answer and drawn.answer.casefold() in sentence.casefold()]
    if drawn.right and len(right) != 1:
        return None
    near = [item for item, _ in parts if item not in right]
    far = [item for passage in drawn.others for item, _ in _cut(passage, before)]
    rng.shuffle(near)
    # Sentences that share words with the question are the ones that are taken for its answer.
    far = rng.sample(far, min(len(far), _COMPARED))
    asked = set(words(drawn.text))
    far.sort(key=lambda item: rng.random() - 0.4 * len(asked & set(words(item.text))))
    others = near[:4] + far[: max(2, 6 - len(near[:4]))]
    positive = indexed(right[0]) if right else ""
    return SearchQuery(drawn.text, drawn.answer, positive, _without(drawn.answer, others), drawn.origin)


def _cut(passage: Passage, before: int) -> list[tuple[Passage, str]]:
    """Return each sentence as a passage of its own, with so many before it, and by itself."""
    parts = sentences(passage.text)
    return [
        (replace(passage, text="\n".join(parts[max(0, number - before) : number + 1])), part)
        for number, part in enumerate(parts)
    ]


def indexed(passage: Passage) -> str:
    """Return a passage as it is embedded and reranked."""
    return Chunk(id="", text=passage.text, document="", title=passage.title, heading=passage.heading).indexed_text


def _without(answer: str, passages: Iterable[Passage], most: int = 6) -> tuple[str, ...]:
    """Return the passages, as indexed, in which the answer does not stand."""
    texts = dict.fromkeys(indexed(item) for item in passages)
    return tuple(text for text in texts if not answer or answer.casefold() not in text.casefold())[:most]


def _of_scene(rng: Random, missing: float) -> _Drawn | None:
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
    question_text = dress(
        rng, question.language, put(rng.choice(question.wordings), filled.spoken).rstrip("?？"), tail=False
    )
    others = [item for place, item in enumerate(passages) if place != places[number] or without]
    rng.shuffle(others)
    others = others[:3] + [_elsewhere(rng, scene, filled.values) for _ in range(3)]
    right = None if without else passages[places[number]]
    return _Drawn(question_text, answer, right, tuple(others), f"{scene.language}/{scene.title}")


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


def _of_world(rng: Random) -> _Drawn | None:
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
    return _Drawn(question, fact.value, passage, tuple(others), f"{name}/{fact.key}")


def _of_reading(rng: Random, questions: Sequence[ReadingQuestion], missing: float) -> _Drawn | None:
    asked = rng.choice(questions)
    document = asked.passage.document
    pool = [item.passage for item in rng.sample(list(questions), min(len(questions), 5))]
    pool += [item.passage for item in questions if item.passage.document == document and item.passage != asked.passage]
    without = rng.random() < missing
    right = None if without else asked.passage
    # Without an answer the words of the true one still tell which passages would hold it.
    pool = [item for item in pool if asked.answer.casefold() not in item.text.casefold()]
    return _Drawn(asked.question, "" if without else asked.answer, right, tuple(pool), document)
