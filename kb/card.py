"""Character cards: the community's V1, V2 and V3, as JSON or inside a PNG picture.

The fields are those of the character card specifications; keys that they do not name, and all extensions, are kept as
they came. Where a card has `data.extensions.elysia_chat.languages.<zh|en>`, its texts are used for that language.
"""

import json
import re
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from elysia_chat.kb.errors import CardError

MAX_CARD_BYTES = 64 * 1024 * 1024
Language = Literal["zh", "en"]
_DEFAULT_USER = {"zh": "你", "en": "you"}
_V1_KEYS = ("name", "description", "personality", "scenario", "first_mes", "mes_example")


class CardData(BaseModel):
    """The fields of a card that this program reads; every other key is kept."""

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = Field(min_length=1)
    description: str = ""
    personality: str = ""
    scenario: str = ""
    first_mes: str = ""
    mes_example: str = ""
    system_prompt: str = ""
    nickname: str | None = None
    creator_notes: str = ""
    tags: tuple[str, ...] = ()
    extensions: dict[str, Any] = Field(default_factory=dict)


class LanguageTexts(BaseModel):
    """A persona's texts in one language; empty ones fall back to the card's plain fields.

    Attributes:
        name: of the character.
        user: how the character calls the user.
        system_prompt: who the character is, for the model.
        greeting: its first words.
        examples: questions to try.
        refusal: ways to say that the lore does not tell.
    """

    model_config = ConfigDict(extra="allow", frozen=True)

    name: str = ""
    user: str = ""
    system_prompt: str = ""
    greeting: str = ""
    examples: tuple[str, ...] = ()
    refusal: tuple[str, ...] = ()

    @field_validator("refusal", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class LocalizedCard(BaseModel):
    """What a conversation needs of a card, in one language, macros replaced.

    Attributes:
        name: of the character.
        system_prompt: who the character is, for the model.
        greeting: its first words.
        examples: questions to try.
        refusals: ways to say that the lore does not tell.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    system_prompt: str
    greeting: str
    examples: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()


class CharacterCard(BaseModel):
    """A character card of any version, in the shape of V2 and V3."""

    model_config = ConfigDict(extra="allow", frozen=True)

    spec: str
    spec_version: str
    data: CardData

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that the card has texts of its own for."""
        return tuple(self._language_texts())

    def localized(self, language: str, user: str | None = None) -> LocalizedCard:
        """Return the card's texts in a language, with {{char}} and {{user}} replaced.

        Args:
            language: "zh" or "en"; another falls back to the card's plain fields.
            user: how the character calls the user; unset: as the card says, else 你 or you.
        """
        texts = self._language_texts().get(language, LanguageTexts())
        name = texts.name or self.data.nickname or self.data.name
        called = user or texts.user or _DEFAULT_USER.get(language, _DEFAULT_USER["en"])

        def fill(text: str) -> str:
            return fill_macros(text, name, called)

        return LocalizedCard(
            name=name,
            system_prompt=fill(texts.system_prompt or self._plain_prompt()),
            greeting=fill(texts.greeting or self.data.first_mes),
            examples=tuple(fill(example) for example in texts.examples or user_lines(self.data.mes_example)),
            refusals=tuple(fill(refusal) for refusal in texts.refusal),
        )

    @property
    def voices(self) -> dict[str, str]:
        """Names of the character's voices by language, from `extensions.elysia_chat.voices`; empty where none are."""
        ours = self.data.extensions.get("elysia_chat")
        voices = ours.get("voices") if isinstance(ours, dict) else None
        if not isinstance(voices, dict):
            return {}
        return {str(language): str(name) for language, name in voices.items() if isinstance(name, str) and name}

    def check_languages(self, name: str) -> None:
        """Check the texts of every language.

        Raises:
            CardError: they do not have the shape of `LanguageTexts`; the message calls the card by the name given.
        """
        try:
            self._language_texts()
        except ValidationError as error:
            raise CardError(_explain(error, f"{name}, extensions.elysia_chat.languages,")) from error

    def to_json(self) -> str:
        """Return the card as JSON text, with the keys it came with, unknown ones included."""
        return json.dumps(self.model_dump(mode="json", exclude_unset=True), ensure_ascii=False, indent=2) + "\n"

    def as_version(self, version: Literal[2, 3]) -> "CharacterCard":
        """Return the card marked as V2 or V3; the fields are the same."""
        return self.model_copy(update={"spec": f"chara_card_v{version}", "spec_version": f"{version}.0"})

    def _language_texts(self) -> dict[str, LanguageTexts]:
        ours = self.data.extensions.get("elysia_chat")
        languages = ours.get("languages") if isinstance(ours, dict) else None
        if not isinstance(languages, dict):
            return {}
        return {str(key): LanguageTexts.model_validate(value) for key, value in languages.items()}

    def _plain_prompt(self) -> str:
        if self.data.system_prompt:
            return self.data.system_prompt
        parts = (self.data.description, self.data.personality, self.data.scenario)
        return "\n".join(part for part in parts if part)


def load_card(path: Path) -> CharacterCard:
    """Read a character card from a JSON file, or from a PNG picture that carries one.

    Raises:
        CardError: the file is missing, too large, or holds no card that can be read.
    """
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            msg = f"{path.name} is larger than {MAX_CARD_BYTES // 2**20} MB: not a character card."
            raise CardError(msg)
        content = path.read_bytes()
    except OSError as error:
        msg = f"Cannot read the character card {path}: {error.strerror or error}."
        raise CardError(msg) from error
    return parse_card(content, path.name)


def parse_card(content: bytes, name: str = "card") -> CharacterCard:
    """Read a character card from the bytes of a JSON or PNG file.

    Args:
        content: the whole file.
        name: what to call it in an error.

    Raises:
        CardError: it holds no card that can be read.
    """
    from elysia_chat.kb.card_png import PNG_SIGNATURE, card_json_of_png

    if content.startswith(PNG_SIGNATURE):
        content = card_json_of_png(content, name)
    try:
        card = _from_raw(json.loads(content.decode("utf-8-sig")), name)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        msg = f"{name} is not a character card: it holds no valid JSON ({error})."
        raise CardError(msg) from error
    except ValidationError as error:
        raise CardError(_explain(error, name)) from error
    card.check_languages(name)
    return card


def fill_macros(text: str, char: str, user: str) -> str:
    """Replace {{char}} and {{user}}, and their older forms <BOT> and <USER>, in any case."""
    text = re.sub(r"\{\{\s*char\s*\}\}|<BOT>", lambda _: char, text, flags=re.IGNORECASE)
    return re.sub(r"\{\{\s*user\s*\}\}|<USER>", lambda _: user, text, flags=re.IGNORECASE)


def user_lines(dialogues: str) -> tuple[str, ...]:
    """Return what the user says in a card's `mes_example`: the questions that its author had in mind."""
    return tuple(re.findall(r"^\s*\{\{\s*user\s*\}\}\s*[:：]\s*(\S.*?)\s*$", dialogues, re.IGNORECASE | re.MULTILINE))


def _from_raw(raw: Any, name: str) -> CharacterCard:
    if not isinstance(raw, dict):
        msg = f"{name} is not a character card: it holds a {type(raw).__name__} instead of keys with values."
        raise CardError(msg)
    spec = raw.get("spec")
    if spec is None and "data" not in raw:
        return _from_v1(raw, name)
    if spec not in ("chara_card_v2", "chara_card_v3"):
        msg = f"{name} says spec '{spec}'; known are chara_card_v2 and chara_card_v3."
        raise CardError(msg)
    return CharacterCard.model_validate({"spec_version": spec[-1] + ".0", **raw})


def _from_v1(raw: dict[str, Any], name: str) -> CharacterCard:
    if not any(key in raw for key in _V1_KEYS[1:]):
        msg = f"{name} is not a character card: it has neither 'spec' nor the fields {', '.join(_V1_KEYS)}."
        raise CardError(msg)
    return CharacterCard.model_validate({"spec": "chara_card_v2", "spec_version": "2.0", "data": raw})


def _explain(error: ValidationError, name: str) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{name} is not a complete character card: {where}: {first['msg']}."
