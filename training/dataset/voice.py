"""Who speaks: the persona of a card, or another character with a manner of its own."""

from dataclasses import dataclass
from random import Random

from elysia_chat.training.dataset.lexicon import person_name, template_file


@dataclass(frozen=True)
class Speaker:
    """A voice in one language, with the wordings that its answers are made of.

    It has the fields that `chains.prompt` reads from a card: `name` and `system_prompt`.
    """

    name: str
    system_prompt: str
    language: str
    style: str
    refusals: tuple[str, ...]

    def wording(self, key: str) -> tuple[str, ...]:
        """Return a list of wordings of the speaker's style."""
        return split(template_file("voice")[self.style][self.language].get(key, ""))


def split(text: str) -> tuple[str, ...]:
    """Split a list of wordings; spaces at their ends count."""
    return tuple(part for part in text.split("|") if part)


def stranger(rng: Random, language: str) -> Speaker:
    """Draw a character that is not the persona."""
    voice = template_file("voice")
    name = person_name(rng, language)
    prompt = rng.choice(split(voice["prompts"][language]))
    role = rng.choice(split(voice["characters"][language]))
    refusals = split(voice["plain"][language]["refuse"])
    return Speaker(name, prompt.replace("{name}", name).replace("{role}", role), language, "plain", refusals)


def affirm(rng: Random, speaker: Speaker, body: str, number: int) -> str:
    """Word a factual sentence in the speaker's voice, with the number of its passage at the end.

    Args:
        rng: the source of chance.
        speaker: who says it.
        body: the sentence without its last punctuation mark.
        number: of the passage, from 1; 0 for none.
    """
    chinese = speaker.language == "zh"
    opening = rng.choice(speaker.wording("open")) if rng.random() < 0.4 else ""
    tail = ""
    if chinese and speaker.wording("tail") and rng.random() < 0.22 and body[-1:] not in '”」』）)"':
        tail = rng.choice(speaker.wording("tail"))
    if not chinese:
        keeps = not opening or opening.rstrip().endswith((".", "!", "?", ":"))
        body = body[:1].upper() + body[1:] if keeps else body
    mark = f" [{number}]" if number else ""
    text = f"{opening}{body}{tail}{mark}" + ("。" if chinese else ".")
    if rng.random() < 0.3:
        ending = rng.choice(speaker.wording("close"))
        text += (" " if not chinese or ending == "♪" else "") + ending
    return text


def refuse(rng: Random, speaker: Speaker) -> str:
    """Say in the speaker's voice that the answer is not known."""
    return rng.choice(speaker.refusals)
