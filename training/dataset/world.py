"""Invented worlds: things with names and facts, stated in sentences of many forms."""

from dataclasses import dataclass, field
from functools import cache
from random import Random

from elysia_chat.training.dataset.lexicon import KINDS, entity_name, pick, template_file, value

ZH_PRONOUNS = ("她", "他")
EN_PRONOUNS = (("she", "her", "her"), ("he", "him", "his"))


@dataclass(frozen=True)
class Attribute:
    """What can be said of a kind of thing: labels, statements, questions and questions for the thing itself."""

    key: str
    kind: str
    value: str
    group: str
    labels: dict[str, tuple[str, ...]]
    statements: dict[str, tuple[str, ...]]
    questions: dict[str, tuple[str, ...]]
    inverse: dict[str, tuple[str, ...]]


@dataclass(frozen=True)
class Fact:
    """One attribute of one thing, with its value in the language of the thing's document."""

    entity: "Entity"
    attribute: Attribute
    value: str

    @property
    def key(self) -> str:
        """Identify the fact: what is said of whom."""
        return f"{self.entity.key}/{self.attribute.key}={self.value}"


@dataclass(eq=False)
class Entity:
    """A thing of an invented world."""

    key: str
    kind: str
    names: dict[str, str]
    language: str
    gender: int
    own: bool = False
    facts: list[Fact] = field(default_factory=list)

    @property
    def name(self) -> str:
        """Its name in the language of its document."""
        return self.names[self.language]


@dataclass(frozen=True)
class Stated:
    """A fact as a passage states it."""

    fact: Fact
    clause: str
    sentence: str
    template: int
    quotable: bool


@dataclass(frozen=True)
class World:
    """Things that live together, so that their passages get mixed up."""

    key: str
    languages: tuple[str, ...]
    name: dict[str, str]
    entities: list[Entity]


def _split(text: str | None) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(" | ")) if text else ()


@cache
def attributes(kind: str) -> tuple[Attribute, ...]:
    """Return the attributes of a kind of thing."""
    found = []
    for key, entry in template_file(kind).items():
        parts = {short: {lang: _split(entry[lang].get(short)) for lang in ("zh", "en")} for short in "ksqi"}
        found.append(
            Attribute(key, kind, entry["v"], entry.get("g", key), parts["k"], parts["s"], parts["q"], parts["i"])
        )
    return tuple(found)


def make_world(rng: Random, key: str, style: str, own_name: dict[str, str] | None = None) -> World:
    """Draw a world.

    Args:
        rng: the source of chance.
        key: identifies the world.
        style: "zh", "en" or "mixed".
        own_name: names of the persona by language, if one of the things shall be the persona itself.
    """
    languages = ("zh", "en") if style == "mixed" else (style,)
    kinds = rng.choices(KINDS, weights=(48, 16, 10, 12, 6, 8), k=rng.randint(5, 9))
    if own_name:
        kinds[0] = "person"
    entities: list[Entity] = []
    taken: set[str] = set()
    for number, kind in enumerate(kinds):
        own = bool(own_name) and number == 0
        names = dict(own_name) if own and own_name else _fresh_names(rng, kind, taken)
        taken.update(names.values())
        entities.append(Entity(f"{key}.{number}", kind, names, rng.choice(languages), rng.randrange(2), own))
    people = {lang: [item.names[lang] for item in entities if item.kind == "person"] for lang in languages}
    for entity in entities:
        _give_facts(rng, entity, entities, [name for name in people[entity.language] if name != entity.name])
    town = {lang: entity_name(rng, "place", lang) for lang in ("zh", "en")}
    return World(key, languages, town, entities)


def _fresh_names(rng: Random, kind: str, taken: set[str]) -> dict[str, str]:
    while True:
        names = {lang: entity_name(rng, kind, lang) for lang in ("zh", "en")}
        if not taken.intersection(names.values()):
            if kind == "person" and rng.random() < 0.08:
                names["zh"] = names["en"]
            return names


def _give_facts(rng: Random, entity: Entity, others: list[Entity], people: list[str]) -> None:
    pool = attributes(entity.kind)
    wanted = rng.randint(4, 9)
    chosen = rng.sample(pool, min(wanted, len(pool)))
    # The same attributes at several things make passages that are easily confused.
    for other in others:
        if other.kind == entity.kind and other.facts and rng.random() < 0.7:
            shared = rng.sample(other.facts, min(2, len(other.facts)))
            chosen = [fact.attribute for fact in shared] + chosen
    seen: set[str] = set()
    taken = {fact.value for other in others for fact in other.facts}
    for attribute in chosen[:wanted]:
        if attribute.key in seen:
            continue
        seen.add(attribute.key)
        for _ in range(8):
            drawn = value(rng, attribute.value, entity.language, people)
            if drawn not in taken and entity.name not in drawn and drawn not in entity.name:
                taken.add(drawn)
                entity.facts.append(Fact(entity, attribute, drawn))
                break


def subject_forms(entity: Entity, form: str) -> tuple[str, str]:
    """Return how a thing is named as subject and how as possessor ("she", "her"; "她", "她的")."""
    if entity.language == "zh":
        word = {"me": "我", "it": ZH_PRONOUNS[entity.gender] if entity.kind == "person" else "它"}.get(form, form)
        return word, f"{word}的"
    if form == "me":
        return "I", "my"
    if form == "it":
        pronoun = EN_PRONOUNS[entity.gender] if entity.kind == "person" else ("it", "it", "its")
        return pronoun[0], pronoun[2]
    return form, f"{form}'s"


def render(template: str, entity: Entity, form: str, text: str) -> str:
    """Fill a statement.

    Args:
        template: with {s} for the thing and {v} for the value.
        entity: the thing.
        form: "it" for a pronoun, "me" for the first person, "" to leave it out, or the words to use.
        text: the value.
    """
    chinese = entity.language == "zh"
    if form == "":
        if template.startswith("{s}的") and chinese:
            template = template.removeprefix("{s}的")
        elif template.startswith("{s}"):
            template = template.removeprefix("{s}").lstrip()
        form = "it"
    subject, possessor = subject_forms(entity, form)
    if chinese:
        return template.replace("{s}", subject).replace("{v}", text)
    objective = {"I": "me", "she": "her", "he": "him"}.get(subject, subject)
    first = template.startswith("{s} ")
    filled = template.replace("{s}'s", possessor)
    if first:
        filled = subject + filled.removeprefix("{s}").replace("{s}", objective)
    filled = filled.replace("{s}", objective)
    if form == "me":
        for old, new in (("I is ", "I am "), ("I has ", "I have "), ("I does ", "I do ")):
            filled = filled.replace(old, new)
        head, _, rest = filled.partition(" ")
        verb, _, tail = rest.partition(" ")
        if head == "I" and verb.endswith("s") and verb not in ("was", "always", "has"):
            base = (
                verb[:-3] + "y"
                if verb.endswith("ies")
                else (verb[:-2] if verb.endswith(("sses", "shes", "ches")) else verb[:-1])
            )
            filled = f"I {base} {tail}"
    return filled.replace("{v}", text)


def capital(text: str) -> str:
    """Return the text with its first letter in upper case."""
    return text[:1].upper() + text[1:]


def filler(rng: Random, entity: Entity, form: str) -> str:
    """Draw a sentence that states no fact."""
    key = f"filler_{entity.kind}" if rng.random() < 0.6 else "filler_any"
    if form == "me":
        key = "filler_any"
    text = pick(rng, entity.language, key)
    subject, _ = subject_forms(entity, form if form else "it")
    if entity.language == "en" and form in ("it", "") and "{s}" in text and not text.startswith("{s}"):
        subject = entity.name
    return capital(text.replace("{s}", subject)) if entity.language == "en" else text.replace("{s}", subject)
