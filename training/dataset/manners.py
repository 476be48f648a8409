"""Passages about the things of a world, in many manners."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from random import Random

from elysia_chat.training.dataset.lexicon import day, person_name, pick
from elysia_chat.training.dataset.world import Entity, Fact, Stated, World, capital, filler, render

Written = tuple[str, list[Stated]]


@dataclass(frozen=True)
class Passage:
    """A passage as a retriever would return it, with the facts that it states."""

    document: str
    title: str
    heading: str
    text: str
    stated: tuple[Stated, ...]
    language: str
    entities: frozenset[str]

    def states(self, fact: Fact) -> bool:
        """Tell whether the fact is in the passage."""
        return any(item.fact is fact for item in self.stated)


def write_passages(rng: Random, world: World) -> list[Passage]:
    """Write the documents of a world and cut them into passages of 30 to about 450 characters."""
    passages: list[Passage] = []
    for number, entity in enumerate(world.entities):
        title, asked = _title(rng, world, entity)
        facts = list(entity.facts)
        rng.shuffle(facts)
        heads = iter(rng.sample(_headings(entity), 4))
        shown = rng.random() < 0.7
        while facts:
            size = rng.choice((1, 2, 2, 3, 3, 4, 5))
            part, facts = facts[:size], facts[size:]
            manner = rng.choices(_MANNERS, weights=_WEIGHTS)[0]
            if asked or (entity.own and rng.random() < 0.3):
                manner = _first_person
            text, stated = manner(rng, entity, part)
            heading = next(heads, "") if shown else ""
            passage = Passage(
                f"{world.key}.d{number}", title, heading, text, tuple(stated), entity.language, frozenset({entity.key})
            )
            passage = _cut(rng, passage)
            passages.append(replace(passage, text=_gloss(rng, world, entity, passage.text)))
    if rng.random() < 0.35:
        passages += _rosters(rng, world, len(world.entities))
    return passages


def _headings(entity: Entity) -> list[str]:
    from elysia_chat.training.dataset.lexicon import words

    own = list(words(entity.language, f"heading_{entity.kind}"))
    return own if len(own) >= 4 else own * 4


def _title(rng: Random, world: World, entity: Entity) -> tuple[str, bool]:
    form = pick(rng, entity.language, "doc_title")
    asked = entity.kind == "person" and form.startswith(("采访", "Interview")) and rng.random() < 0.7
    return capital(form.replace("{s}", entity.name).replace("{w}", world.name[entity.language])), asked


def _gloss(rng: Random, world: World, entity: Entity, text: str) -> str:
    """Add the name in the other language after its first mention."""
    chance = 0.6 if len(world.languages) > 1 else 0.12
    other = entity.names["en" if entity.language == "zh" else "zh"]
    if rng.random() > chance or entity.name not in text or other == entity.name:
        return text
    mark = f"（{other}）" if entity.language == "zh" else f" ({other})"
    return text.replace(entity.name, entity.name + mark, 1)


def _first_form(rng: Random, entity: Entity) -> str:
    return entity.name if rng.random() < 0.75 else "it"


def _sentences(rng: Random, entity: Entity, facts: Sequence[Fact], first: str, *, fill: float = 0.35) -> list[Written]:
    """State the facts in sentences of one to three clauses, with sentences between them that state nothing."""
    chinese = entity.language == "zh"
    rest, form, written = list(facts), first, []
    while rest:
        count = rng.choice((1, 1, 2, 2, 3))
        part, rest = rest[:count], rest[count:]
        clauses: list[tuple[Fact, str, int]] = []
        for number, fact in enumerate(part):
            templates = fact.attribute.statements[entity.language]
            index = rng.randrange(len(templates))
            leading = templates[index].startswith("{s}")
            shown = (
                form if number == 0 or not leading else ("" if chinese or templates[index].startswith("{s} ") else "it")
            )
            if number and first == "me" and not leading:
                shown = "me"
            if number and first == "me" and not chinese:
                shown = "me"
            clauses.append((fact, render(templates[index], entity, shown, fact.value), index))
        text = _join(rng, chinese, [clause for _, clause, _ in clauses])
        written.append((text, [Stated(fact, clause, text, index, True) for fact, clause, index in clauses]))
        form = first if first == "me" else ("it" if rng.random() < 0.6 else entity.name)
        if rng.random() < fill:
            written.append((filler(rng, entity, form), []))
    return written


def _join(rng: Random, chinese: bool, clauses: list[str]) -> str:
    if chinese:
        text = clauses[0]
        for clause in clauses[1:]:
            text += rng.choice(("，", "，", "，", "；", "，而且", "，另外")) + clause
        return text + rng.choice(("。", "。", "。", "。", "！", "……"))
    text = capital(clauses[0])
    for clause in clauses[1:]:
        text += rng.choice((" and ", ", and ", ", and ", " and also ")) + clause
    return text + rng.choice((".", ".", ".", "!"))


def _flow(entity: Entity, parts: list[Written]) -> Written:
    glue = "" if entity.language == "zh" else " "
    return glue.join(text for text, _ in parts), [item for _, stated in parts for item in stated]


def _prose(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    parts = _sentences(rng, entity, facts, _first_form(rng, entity))
    if rng.random() < 0.3:
        parts.insert(0, (filler(rng, entity, entity.name), []))
    return _flow(entity, parts)


def _dense(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    return _flow(entity, _sentences(rng, entity, facts, _first_form(rng, entity), fill=0.0))


def _labelled(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """Lines of label and value: tables, info boxes, cards."""
    chinese = entity.language == "zh"
    line = rng.choice(
        ("- {k}：{v}", "{k}：{v}", "**{k}**：{v}", "| {k} | {v} |", "【{k}】{v}", "· {k} {v}")
        if chinese
        else ("- {k}: {v}", "{k}: {v}", "**{k}**: {v}", "| {k} | {v} |", "{k} = {v}", "* {k} - {v}")
    )
    lines: list[str] = []
    stated: list[Stated] = []
    if rng.random() < 0.6:
        lines.append(entity.name)
    for fact in facts:
        label = rng.choice(fact.attribute.labels[entity.language])
        text = line.format(k=label, v=fact.value)
        lines.append(text)
        stated.append(Stated(fact, text, text, -1, False))
    if rng.random() < 0.3:
        lines.append(filler(rng, entity, entity.name))
    return (" / " if rng.random() < 0.12 else "\n").join(lines), stated


def _dialogue(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """Two people talk about the thing."""
    chinese = entity.language == "zh"
    one, two = (person_name(rng, entity.language) for _ in range(2))
    lines: list[str] = []
    stated: list[Stated] = []
    for fact in facts:
        templates = fact.attribute.statements[entity.language]
        index = rng.randrange(len(templates))
        form = entity.name if not lines or rng.random() < 0.4 else "it"
        clause = render(templates[index], entity, form, fact.value)
        if chinese:
            text = rng.choice(
                (
                    "“{c}。”{a}说。",
                    "{a}：“你知道吗？{c}。”",
                    "“听说{c}。”{a}压低声音。",
                    "{a}：{c}啊，你不知道？",
                    "“{c}，”{a}点点头，“我亲眼见过。”",
                )
            ).format(c=clause, a=rng.choice((one, two)))
        else:
            text = rng.choice(
                (
                    '"{c}," said {a}.',
                    '{a}: "Did you know? {c}."',
                    '"They say {c}," whispered {a}.',
                    "{a}: {c}, didn't you know?",
                    '"{c}," {a} nodded. "I saw it myself."',
                )
            ).format(c=capital(clause), a=rng.choice((one, two)))
        lines.append(text)
        stated.append(Stated(fact, clause, text, index, True))
    return "\n".join(lines) if rng.random() < 0.6 else (" " if not chinese else "").join(lines), stated


def _questions(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """Questions with their answers, as in a list of frequent questions."""
    chinese = entity.language == "zh"
    lines: list[str] = []
    stated: list[Stated] = []
    for fact in facts:
        ask = rng.choice(fact.attribute.questions[entity.language]).replace("{s}", entity.name)
        text = f"**{ask}？**\n{fact.value}。" if chinese else f"**{capital(ask)}?**\n{capital(fact.value)}."
        lines.append(text)
        stated.append(Stated(fact, fact.value, text, -1, False))
    return "\n".join(lines), stated


def _diary(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """A diary or a letter of somebody who writes about the thing."""
    chinese = entity.language == "zh"
    parts = _sentences(rng, entity, facts, entity.name, fill=0.5)
    who = person_name(rng, entity.language)
    if chinese:
        opening = rng.choice(
            (
                f"{day(rng, 'zh')}，{rng.choice('晴阴雨雪')}。",
                f"亲爱的{who}：",
                f"{day(rng, 'zh')}。今天又听人说起{entity.name}。",
                f"{who}，见信好。",
                "今天在路上遇见了一位老人，他告诉我：",
            )
        )
    else:
        opening = rng.choice(
            (
                f"{day(rng, 'en')}. ",
                f"Dear {who}, ",
                f"{day(rng, 'en')}. Heard about {entity.name} again today. ",
                "An old man on the road told me this. ",
            )
        ).rstrip()
    return _flow(entity, [(opening, []), *parts])


def _news(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    parts = _sentences(rng, entity, facts, entity.name, fill=0.2)
    if entity.language == "zh":
        opening = rng.choice(
            ("【本报讯】", "据知情人士透露，", "记者获悉：", "〔公告〕", "版本更新说明：", "档案编号{n}。")
        )
    else:
        opening = rng.choice(
            (
                "Our reporter writes:",
                "According to people close to the matter:",
                "NOTICE.",
                "Patch notes:",
                "File no. {n}.",
            )
        )
    return _flow(entity, [(opening.replace("{n}", str(rng.randint(10, 9999))), []), *parts])


def _legend(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    parts = _sentences(rng, entity, facts, entity.name, fill=0.4)
    opening = rng.choice(
        ("相传，", "很久以前的事了。", "老人们说，", "古书上记着：")
        if entity.language == "zh"
        else ("Long ago.", "The old people say:", "It is written in the old books:", "Or so the story goes:")
    )
    text, stated = _flow(entity, parts)
    return (opening + text if entity.language == "zh" else f"{opening} {text}"), stated


def _numbered(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """A list of numbered or bulleted statements."""
    lines: list[str] = []
    stated: list[Stated] = []
    mark = rng.choice(("{n}. ", "- ", "* ", "第{n}条 " if entity.language == "zh" else "({n}) "))
    for number, (text, found) in enumerate(_sentences(rng, entity, facts, entity.name, fill=0.3), 1):
        lines.append(mark.format(n=number) + text)
        stated += found
    return "\n".join(lines), stated


def _first_person(rng: Random, entity: Entity, facts: Sequence[Fact]) -> Written:
    """The person tells of itself; only the title says who speaks."""
    if entity.kind != "person":
        return _prose(rng, entity, facts)
    return _flow(entity, _sentences(rng, entity, facts, "me"))


_Manner = Callable[[Random, Entity, Sequence[Fact]], Written]
_MANNERS: tuple[_Manner, ...] = (
    _prose,
    _dense,
    _labelled,
    _dialogue,
    _questions,
    _diary,
    _news,
    _legend,
    _numbered,
    _first_person,
)
_WEIGHTS = (26, 18, 14, 7, 3, 10, 7, 5, 6, 4)


def _rosters(rng: Random, world: World, number: int) -> list[Passage]:
    """Write one passage that says something of several things."""
    language = rng.choice(world.languages)
    chosen = [item for item in world.entities if item.language == language and len(item.facts) > 4]
    if len(chosen) < 2:
        return []
    chosen = rng.sample(chosen, min(len(chosen), rng.randint(2, 3)))
    lines: list[str] = []
    stated: list[Stated] = []
    for entity in chosen:
        # These facts are taken out of the thing's own list, so that each is stated in one place only.
        facts = [entity.facts[0]]
        text, found = _flow(entity, _sentences(rng, entity, facts, entity.name, fill=0.0))
        lines.append(rng.choice(("", "- ")) + text)
        stated += found
    title = world.name[language] + ("人物一览" if language == "zh" else " who is who")
    return [
        Passage(
            f"{world.key}.d{number}",
            title,
            "",
            "\n".join(lines),
            tuple(stated),
            language,
            frozenset(item.key for item in chosen),
        )
    ]


def _cut(rng: Random, passage: Passage) -> Passage:
    """Cut a passage off in the middle of a sentence now and then, and bound its length; facts cut away are dropped."""
    text = passage.text
    limit = 450 if passage.language == "zh" else 620
    if len(text) > 80 and rng.random() < 0.12:
        ahead = rng.randint(3, 25)
        text = text[ahead:] if rng.random() < 0.5 else text[: len(text) - ahead]
    text = text[:limit].strip()
    folded = text.casefold()
    kept = tuple(item for item in passage.stated if item.clause.casefold() in folded)
    return replace(passage, text=text, stated=kept)
