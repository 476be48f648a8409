"""Hand-written passages with open places: names and values are drawn anew each time one is used.

The files `templates/scenes_*.txt`: `@@` begins a scene with its title, `##` a section with its heading; `?` is a
question (wordings split at "|") with the words of the passage that answer it after `=>`; `?zh` and `?en` ask in that
language; `!` is a question that the passage does not answer. `{a:person}` draws a value, `{a=x|y}` chooses, and
`{a}` repeats.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from random import Random

from elysia_chat.training.dataset.compose import Asked, prompt_size
from elysia_chat.training.dataset.lexicon import entity_name, pick, value
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.questions import dress, quoted
from elysia_chat.training.dataset.voice import Speaker, affirm, refuse

_SLOT = re.compile(r"\{(\w+)(?:(=|:)([^{}]+))?\}")
_SENTENCE = {
    "zh": re.compile(r"[^。！？!?\n]*[。！？!?]?[”」）]*"),
    "en": re.compile(r".+?(?:(?<!\bDr)[.!?][\"”)]*(?=\s|$)|$)", re.MULTILINE),
}
_JOINED, _JOINED_CHARACTERS = 0.6, 500
_PRONOUNS: dict[str, dict[str, Sequence[str]]] = {
    "zh": {"g": "她他", "h": "她他", "o": "她他"},
    "en": {"g": ("she", "he"), "h": ("her", "his"), "o": ("her", "him")},
}


@dataclass(frozen=True)
class Question:
    """A question on a section: the language it is asked in, its wordings, and the answer ("" where there is none)."""

    language: str
    wordings: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Section:
    """A passage with its questions."""

    heading: str
    text: str
    questions: tuple[Question, ...]


@dataclass(frozen=True)
class Scene:
    """A document of one or more sections that share their open places."""

    language: str
    title: str
    sections: tuple[Section, ...]


@cache
def scenes(language: str) -> tuple[Scene, ...]:
    """Read the scenes of a language."""
    folder = files(__package__).joinpath("templates")
    texts = [
        item.read_text(encoding="utf-8") for item in folder.iterdir() if item.name.startswith(f"scenes_{language}")
    ]
    return tuple(_scene(language, block) for text in sorted(texts) for block in text.split("@@ ")[1:])


def _scene(language: str, block: str) -> Scene:
    title, _, body = block.partition("\n")
    parts = body.split("## ")
    found = []
    for number, part in enumerate(parts):
        if not part.strip():
            continue
        heading, _, text = part.partition("\n") if number else ("", "", part)
        found.append(_section(language, heading.strip(), text))
    return Scene(language, title.strip(), tuple(found))


def _section(language: str, heading: str, body: str) -> Section:
    lines, asked = [], []
    for line in body.strip().splitlines():
        mark, _, rest = line.partition(" ")
        if mark in ("?", "?zh", "?en", "!"):
            wordings, _, answer = rest.partition(" => ")
            asked.append(
                Question(mark[1:] or language, tuple(item.strip() for item in wordings.split(" | ")), answer.strip())
            )
        else:
            lines.append(line)
    return Section(heading, "\n".join(lines), tuple(asked))


def fill_scene(rng: Random, scene: Scene) -> dict[str, str]:
    """Draw the values of a scene's open places."""
    language, chosen = scene.language, {}
    gender = rng.randrange(2)
    for name, forms in _PRONOUNS[language].items():
        chosen[name] = forms[gender]
    whole = "\n".join([scene.title, *(f"{item.heading}\n{item.text}" for item in scene.sections)])
    taken: set[str] = set()
    for match in _SLOT.finditer(whole):
        name, how, what = match.groups()
        if how is None:
            continue
        for _ in range(10):
            drawn = rng.choice(what.split("|")) if how == "=" else _draw(rng, what, language)
            if drawn not in taken:
                break
        taken.add(drawn)
        chosen[name] = drawn
    return chosen


def _draw(rng: Random, what: str, language: str) -> str:
    match what:
        case "num":
            return str(rng.randint(3, 60))
        case "num2":
            return str(rng.randint(30, 99))
        case "noun":
            return pick(rng, language, "thing")
        case "event_name":
            return entity_name(rng, "event", language)
        case "group_name":
            return pick(rng, language, "group_a")
        case _:
            return value(rng, what, language, [])


@dataclass(frozen=True)
class Filled:
    """A scene with its values drawn.

    Attributes:
        sections: one passage for each.
        values: what stands in the open places.
        spoken: the same, as a question calls them.
    """

    sections: list[Passage]
    values: dict[str, str]
    spoken: dict[str, str]


def filled_sections(rng: Random, scene: Scene, language: str, key: str = "") -> Filled:
    """Fill a scene for questions in a language; in half of the crossed ones the passages show both languages' names.

    Args:
        rng: the source of chance.
        scene: the scene.
        language: what the questions are asked in.
        key: identifies the document.
    """
    chosen = fill_scene(rng, scene)
    title = put(scene.title, chosen)
    passages = [
        Passage(key, title, put(part.heading, chosen), put(part.text, chosen), (), scene.language, frozenset({key}))
        for part in scene.sections
    ]
    if scene.language != language and rng.random() < 0.5:
        return Filled(*_two_names(rng, scene, passages, chosen, language))
    return Filled(passages, chosen, dict(chosen))


def put(template: str, chosen: dict[str, str]) -> str:
    """Fill the open places of a text."""
    return _SLOT.sub(lambda match: chosen.get(match.group(1), match.group(0)), template)


def sentence_of(text: str, answer: str, language: str) -> str:
    """Return the sentence of a passage that holds the answer, or a part of it where it is long; "" if none does."""
    for match in _SENTENCE[language].finditer(text):
        sentence = match.group().strip().lstrip("-*·").strip()
        if answer.casefold() in sentence.casefold():
            return _shorten(sentence, answer, language)
    return ""


def _shorten(sentence: str, answer: str, language: str) -> str:
    limit = 64 if language == "zh" else 170
    sentence = re.sub(r"^(?:\*\*)?[^*]+\*\*\s*", "", sentence)
    if len(sentence) <= limit:
        return sentence
    parts = re.split(r"(?<=[，；：])" if language == "zh" else r"(?<=[,;:]) ", sentence)
    holding = [number for number in range(len(parts)) if answer.casefold() in parts[number].casefold()]
    if not holding:
        return sentence
    start = max(0, holding[0] - 1)
    kept = ("" if language == "zh" else " ").join(parts[start : holding[0] + 1])
    return kept.rstrip("，；：,;: ") if len(kept) <= 2 * limit else parts[holding[0]].rstrip("，；：,;: ")


def scene_panel(
    rng: Random, speaker: Speaker, others: Sequence[Passage], key: str, *, style: str, count: int
) -> tuple[list[Passage], list[Asked]]:
    """Ask several questions on a freshly filled scene.

    Args:
        rng: the source of chance.
        speaker: who answers; its language is that of the questions.
        others: passages of other documents.
        key: identifies the scene's document.
        style: "zh", "en": passages in that language; "mixed": in the language that is not the speaker's.
        count: how many questions at most.
    """
    language = speaker.language
    source = style if style != "mixed" else ("en" if language == "zh" else "zh")
    able = [
        item for item in scenes(source)
        if any(question.language == language for part in item.sections for question in part.questions)
    ]  # fmt: skip
    if not able:
        return [], []
    scene = rng.choice(able)
    filled = filled_sections(rng, scene, language, key)
    passages, chosen, spoken = filled.sections, filled.values, filled.spoken
    cut, places = join_sections(rng, passages)
    keep = sorted(rng.sample(range(len(cut)), min(len(cut), rng.choice((1, 2, 2, 3)))))
    fill = rng.sample(list(others), min(len(others), max(0, prompt_size(rng) - len(keep))))
    shown = [cut[number] for number in keep] + fill
    rng.shuffle(shown)
    pairs = [
        (number, question)
        for number in range(len(passages))
        for question in scene.sections[number].questions
        if question.language == language or (not question.answer and source == language)
    ]
    rng.shuffle(pairs)
    asked, gone, most = [], 0, rng.choice((1, 2))
    for number, question in pairs:
        if places[number] not in keep or not question.answer:
            gone += 1
            if gone > most:
                continue
        found = _ask(rng, speaker, shown, (passages[number], cut[places[number]]), question, (chosen, spoken))
        if found:
            asked.append(found)
    return shown, asked[:count]


def join_sections(rng: Random, sections: Sequence[Passage]) -> tuple[list[Passage], list[int]]:
    """Join some short sections with those before them, as the splitter of the chat's index joins them.

    Returns:
        The passages, and for each section the number of the passage that holds it.
    """
    joined: list[Passage] = []
    places: list[int] = []
    for section in sections:
        last = joined[-1] if joined else None
        text = f"{section.heading}\n\n{section.text}" if section.heading else section.text
        if last and rng.random() < _JOINED and len(last.text) + len(text) <= _JOINED_CHARACTERS:
            before = f"{last.heading}\n\n{last.text}" if last.heading else last.text
            joined[-1] = replace(last, heading="", text=f"{before}\n\n{text}")
        else:
            joined.append(section)
        places.append(len(joined) - 1)
    return joined, places


def _two_names(
    rng: Random, scene: Scene, passages: list[Passage], chosen: dict[str, str], language: str
) -> tuple[list[Passage], dict[str, str], dict[str, str]]:
    """Show names in both languages, and ask by the other one."""
    spoken = dict(chosen)
    for match in _SLOT.finditer("\n".join(f"{item.heading}\n{item.text}" for item in scene.sections)):
        name, how, what = match.groups()
        if how != ":" or what not in ("person", "placename", "place"):
            continue
        old, new = chosen[name], entity_name(rng, "person" if what == "person" else "place", language)
        mark = f"{old}（{new}）" if scene.language == "zh" else f"{old} ({new})"
        passages = [
            replace(item, text=item.text.replace(old, mark, 1), heading=item.heading.replace(old, mark, 1))
            for item in passages
        ]
        spoken[name] = new
    return passages, chosen, spoken


def _ask(
    rng: Random,
    speaker: Speaker,
    shown: list[Passage],
    place_of: tuple[Passage, Passage],
    question: Question,
    values: tuple[dict[str, str], dict[str, str]],
) -> Asked | None:
    (section, right), (chosen, spoken) = place_of, values
    words = dress(rng, speaker.language, put(rng.choice(question.wordings), spoken).rstrip("?？"), tail=False)
    answer, key = put(question.answer, chosen), f"{right.document}/{question.wordings[0]}"
    place = next((number for number, passage in enumerate(shown, 1) if passage is right), 0)
    if not answer or not place:
        if answer and any(answer.casefold() in item.text.casefold() for item in shown):
            return None
        return Asked(words, refuse(rng, speaker), tuple(shown), f"{key}?", (), 0, "scene_refusal")
    if answer.casefold() not in section.text.casefold():
        return None
    body = _body(rng, section, answer, speaker.language)
    return Asked(words, affirm(rng, speaker, body, place), tuple(shown), key, (answer,), place, "scene")


def _body(rng: Random, passage: Passage, answer: str, language: str) -> str:
    sentence = sentence_of(passage.text, answer, passage.language).rstrip("。.!！?？…")
    if not sentence:
        return answer
    if passage.language != language:
        return quoted(rng, language, sentence) if rng.random() < 0.75 else answer
    if rng.random() < 0.22 and len(answer) > 1:
        return answer
    spoken = re.search(r"(?:^|[，。 ])我|\b(?:I|my|we|our)\b", sentence)
    if spoken and rng.random() < 0.7:
        return quoted(rng, language, sentence)
    return sentence
