"""Conversation that needs no passages: small talk, comfort, introductions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from elysia_chat.chains.prompt import Turn
from elysia_chat.training.dataset.compose import build_example
from elysia_chat.training.dataset.example import Example
from elysia_chat.training.dataset.lexicon import pick, template_file
from elysia_chat.training.dataset.manners import Passage
from elysia_chat.training.dataset.voice import Speaker, split
from elysia_chat.training.errors import DataFileError

_GREETINGS = {"zh": ("舰长", "爱莉，", "爱莉希雅，", "喂，", "嗨，"), "en": ("Hey, ", "Elysia, ", "Ellie, ", "Hi, ")}


@dataclass(frozen=True)
class Dialogue:
    """A conversation in the persona's voice.

    Attributes:
        kind: "small_talk", "comfort", "introduction", …
        language: "zh" or "en".
        turns: what was said and answered, in order.
    """

    kind: str
    language: str
    turns: tuple[Turn, ...]


def read_dialogues(path: Path) -> list[Dialogue]:
    """Read `dialogues.jsonl`: kind, lang and alternating messages of user and assistant in each line.

    Raises:
        DataFileError: a line has another shape; the message names it.
    """
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            texts = [str(message["content"]) for message in entry["messages"]]
            roles = [message["role"] for message in entry["messages"]]
            kind, language = str(entry["kind"]), str(entry["lang"])
        except (ValueError, KeyError, TypeError) as error:
            msg = f"{path.name}, line {number}: expected an object with kind, lang and messages of role and content."
            raise DataFileError(msg) from error
        if roles != ["user", "assistant"] * (len(roles) // 2) or not roles:
            msg = f"{path.name}, line {number}: the messages must alternate user, assistant."
            raise DataFileError(msg)
        turns = tuple(Turn(texts[index], texts[index + 1]) for index in range(0, len(texts), 2))
        found.append(Dialogue(kind, language, turns))
    return found


def general_talk(language: str) -> list[Dialogue]:
    """Return small talk of no character in particular."""
    lines = [line.partition(" > ") for line in template_file("talk")[language].strip().splitlines()]
    return [Dialogue("general", language, (Turn(asked.strip(), reply.strip()),)) for asked, _, reply in lines]


def opinion(rng: Random, language: str) -> Dialogue:
    """Draw a line of small talk with something in it that changes from time to time."""
    templates = template_file("opinions")
    kind = rng.choice(sorted(templates[language]))
    asked, _, replies = rng.choice(templates[language][kind].strip().splitlines()).partition(" > ")
    own = templates["words"][language].get(kind)
    drawn = rng.choice(own.split("|")) if own else pick(rng, language, kind)
    said, reply = (text.strip().replace("{x}", drawn) for text in (asked, rng.choice(replies.split(" | "))))
    return Dialogue("small_talk", language, (Turn(said, reply[:1].upper() + reply[1:]),))


def talk_example(
    rng: Random, speaker: Speaker, dialogues: Sequence[Dialogue], passages: Sequence[Passage] | None
) -> Example | None:
    """Build an example of conversation; whatever passages stand in the prompt have nothing to do with it."""
    own = [item for item in dialogues if item.language == speaker.language and item.kind != "introduction"]
    if not own:
        return None
    chosen = rng.choice(own)
    if speaker.style == "elysia" and rng.random() < 0.35:
        chosen = opinion(rng, speaker.language)
    history = list(chosen.turns[:-1])
    if not history and rng.random() < 0.25:
        history = list(rng.choice(own).turns[:1])
    said = reword(rng, chosen.turns[-1].question, speaker.language)
    return build_example(speaker, said, passages, chosen.turns[-1].answer, kind=chosen.kind, history=history)


def introduction(
    rng: Random, speaker: Speaker, dialogues: Sequence[Dialogue], passages: Sequence[Passage] | None
) -> Example:
    """Build an example where the persona is asked who it is."""
    voice, language = template_file("voice"), speaker.language
    asked = rng.choice(split(voice["who"][language]))
    replies = [item.replace("{name}", speaker.name) for item in split(voice["introductions"][language])]
    if speaker.style == "elysia":
        given = [
            item
            for item in dialogues
            if item.language == language and item.kind == "introduction" and len(item.turns) == 1
        ]
        if given and rng.random() < 0.4:
            chosen = rng.choice(given).turns[0]
            if speaker.name in chosen.answer:
                return build_example(
                    speaker,
                    reword(rng, chosen.question, language),
                    passages,
                    chosen.answer,
                    kind="introduction",
                    expected=(speaker.name,),
                )
        replies = list(split(voice["elysia_introductions"][language]))
    mark = "？" if language == "zh" else "?"
    end = rng.choice((mark, mark, mark, "", "。" if language == "zh" else "."))
    said = reword(rng, asked.rstrip("？?") + end, language)
    return build_example(speaker, said, passages, rng.choice(replies), kind="introduction", expected=(speaker.name,))


def reword(rng: Random, text: str, language: str) -> str:
    """Vary the surface of what a user says."""
    if rng.random() < 0.15:
        start = rng.choice(_GREETINGS[language])
        text = start + (text if language == "zh" else text[:1].lower() + text[1:] if not text.startswith("I") else text)
    if rng.random() < 0.15:
        text = text.rstrip("。.!！?？~")
    elif rng.random() < 0.15:
        text = text.rstrip("。.!！") + ("！" if language == "zh" else "!") if not text.endswith(("?", "？")) else text
    return text
