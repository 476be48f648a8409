"""Questions as people type them, and the sentences that answer them."""

from random import Random

from elysia_chat.training.dataset.lexicon import template_file
from elysia_chat.training.dataset.voice import split
from elysia_chat.training.dataset.world import Entity, Stated, capital, render

# Attributes whose questions could be taken for one another: where one is stated, the other is not asked as missing.
NEAR = (
    {"skill", "swims"},
    {"power", "whymade", "use", "cost"},
    {"kept", "foundat"},
    {"location", "distance", "firstmet"},
    {"use", "purpose", "whymade"},
    {"nickname", "codename", "alias"},
    {"look", "eyes"},
    {"founder", "host", "leader", "maker"},
    {"hobby", "dream", "instrument"},
    {"study", "job", "hobby", "mentor"},
    {"date", "endtime", "founded", "made"},
    {"gift", "carried", "collects"},
    {"stores", "landmark"},
    {"residence", "workplace", "base"},
    {"keeper", "ruler"},
    {"mentor", "boss", "savedby"},
    {"rule", "forbidden", "entry", "condition"},
    {"active", "season"},
    {"spouse", "friend"},
    {"weight", "siblings", "members"},
)
_HOMOPHONES = str.maketrans("的在那做像它", "得再哪作象他")


def too_near(first: str, second: str) -> bool:
    """Tell whether two attributes could be confused by their questions."""
    return first == second or any({first, second} <= group for group in NEAR)


def dress(rng: Random, language: str, question: str, *, tail: bool = True) -> str:
    """Word a bare question as people type it: with a form of address, a particle, a slip or no mark at the end."""
    wording = template_file("voice")["ask"][language]
    chance = rng.random()
    if language == "zh":
        if chance < 0.2:
            question = rng.choice(split(wording["before"])) + question
        elif chance < 0.3 and tail:
            question += rng.choice(split(wording["after"]))
        if rng.random() < 0.02:
            question = question.translate(_HOMOPHONES)
        return question + rng.choice(("？", "？", "？", "？", "?", ""))
    question = capital(question) if chance > 0.06 else question
    if 0.06 < chance < 0.2:
        question = rng.choice(split(wording["before"])) + question[0].lower() + question[1:]
    if rng.random() < 0.03:
        spot = rng.randrange(1, max(2, len(question) - 1))
        question = question[:spot] + question[spot + 1 :]
    if rng.random() < 0.25:
        for full, short in ((" is ", "'s "), ("does not", "doesn't"), ("What is", "What's"), ("Who is", "Who's")):
            if rng.random() < 0.5 and question.startswith((full.strip(), full)):
                question = question.replace(full, short, 1)
    return question + rng.choice(("?", "?", "?", "?", ""))


def bare_question(rng: Random, stated: Stated, language: str, name: str, *, inverse: bool) -> str:
    """Fill a question for a fact, or the question for the thing that has it; you-form where `name` is "you"."""
    attribute = stated.fact.attribute
    if inverse and attribute.inverse[language]:
        return rng.choice(attribute.inverse[language]).replace("{v}", stated.fact.value)
    return second_person(rng.choice(attribute.questions[language]), language, name)


def second_person(template: str, language: str, name: str) -> str:
    """Put a name into a question, or turn it to the second person."""
    if name != "you":
        return template.replace("{s}", name)
    if language == "zh":
        return template.replace("{s}", "你")
    text = template.replace("{s}'s", "your")
    for old, new in (("does {s}", "do you"), ("is {s}", "are you"), ("was {s}", "were you"), ("has {s}", "have you")):
        text = text.replace(old, new)
    return text.replace("{s}", "you")


def restated(rng: Random, stated: Stated, language: str, name: str) -> str:
    """State the fact anew with the name as its subject (name "me": first person)."""
    fact = stated.fact
    templates = fact.attribute.statements[language]
    same = language == fact.entity.language and stated.template >= 0 and rng.random() < 0.6
    index = stated.template if same else rng.randrange(len(templates))
    leading = [item for item in templates if item.startswith("{s}")]
    template = templates[index] if templates[index].startswith("{s}") else rng.choice(leading or list(templates))
    speaker = Entity(fact.entity.key, fact.entity.kind, fact.entity.names, language, fact.entity.gender)
    return render(template, speaker, name, fact.value)


def quoted(rng: Random, language: str, sentence: str) -> str:
    """Quote a sentence of the other language."""
    sentence = sentence.strip()
    if language == "zh":
        return rng.choice(("资料里写着“{}”", "原文是“{}”", "上面说“{}”", "记录里是这样写的：“{}”")).format(sentence)
    return rng.choice(
        ('the text says "{}"', 'it says "{}"', 'here it is: "{}"', 'the records put it like this: "{}"')
    ).format(sentence)
