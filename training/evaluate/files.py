"""What passes between the steps: prepared prompts and answers, as plain JSON files."""

import json
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from elysia_chat.chains.language import Language
from elysia_chat.configs.files import write_text, writing_errors
from elysia_chat.training.handover_errors import EvaluationError

Kind = Literal["answerable", "unanswerable", "introduction", "everyday", "general"]
Arm = Literal["rag", "plain"]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Message(_Strict):
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


class Passage(_Strict):
    """A passage of the prompt; the first is number 1."""

    document: str
    text: str


class PreparedItem(_Strict):
    """A prompt that waits for its answer, and what will be expected of it.

    Attributes:
        id: unique in its file.
        set: name of the world or list that it belongs to.
        kind: what is asked for.
        arm: "rag" with passages in the prompt, "plain" without retrieval.
        language: of the question.
        question: as the user wrote it.
        messages: the whole prompt.
        passages: those in the prompt, in its numbering.
        found: documents of the best five passages, also of those that found no place in the prompt.
        accepted: strings of which a right answer holds one.
        source: document that holds the answer.
    """

    id: str
    set: str
    kind: Kind
    arm: Arm
    language: Language
    question: str
    messages: tuple[Message, ...] = Field(min_length=1)
    passages: tuple[Passage, ...] = ()
    found: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()
    source: str | None = None


class PreparedPrompts(_Strict):
    """Everything that a model is asked, ready for a machine that has neither the persona nor its index.

    Attributes:
        persona: its name.
        names: what it is called, in any language.
        nicknames: shorter names; they count where it must not introduce itself, not where it must.
        items: the prompts.
    """

    persona: str
    names: tuple[str, ...] = Field(min_length=1)
    nicknames: tuple[str, ...] = ()
    items: tuple[PreparedItem, ...] = Field(min_length=1)


class Answer(_Strict):
    """A model's answer, its length in tokens, and whether it was cut off by the limit."""

    text: str
    tokens: int
    truncated: bool = False


class Answers(_Strict):
    """All answers of one model.

    Attributes:
        label: what reports call it.
        model: folder or name of the base.
        adapter: its folder, if there is one.
        step: of training, if it is a checkpoint.
        settings: how it was asked.
        seconds: that the computation took.
        answers: by the id of the prompt.
    """

    label: str
    model: str
    adapter: str | None = None
    step: int | None = None
    settings: dict[str, float | int | str | bool] = Field(default_factory=dict)
    seconds: float = 0.0
    answers: dict[str, Answer]


Content = TypeVar("Content", bound=BaseModel)


def read_prepared(path: Path) -> PreparedPrompts:
    """Read prepared prompts.

    Raises:
        EvaluationError: the file cannot be read or has another shape.
    """
    prepared = _read(path, PreparedPrompts)
    ids = [item.id for item in prepared.items]
    if len(set(ids)) != len(ids):
        msg = f"{path} has two prompts of the same id: prepare it again."
        raise EvaluationError(msg)
    return prepared


def read_answers(path: Path) -> Answers:
    """Read a model's answers.

    Raises:
        EvaluationError: the file cannot be read or has another shape.
    """
    return _read(path, Answers)


def write_file(content: BaseModel, path: Path) -> None:
    """Write prepared prompts or answers; the file appears whole or not at all.

    Raises:
        EvaluationError: it cannot be written.
    """
    with writing_errors(path, EvaluationError):
        write_text(path, content.model_dump_json(indent=1, exclude_defaults=True) + "\n")


def _read(path: Path, kind: type[Content]) -> Content:
    try:
        return kind.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        msg = f"Cannot read {path}: {str(error).splitlines()[0]}"
        raise EvaluationError(msg) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the top level"
        msg = f"{path}: {where}: {first['msg']}. Prepare or answer it again."
        raise EvaluationError(msg) from error
