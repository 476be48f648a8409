"""How a reply is asked for: the controls of the page, checked against the settings' own rules."""

from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from elysia_chat.configs.errors import SettingsError
from elysia_chat.configs.settings import GenerationSettings, RetrievalSettings, Settings

LoreMode = Literal["on", "off", "both"]
RETRY_TEMPERATURE = 0.7

_Checked = TypeVar("_Checked", bound=BaseModel)


@dataclass(frozen=True)
class Controls:
    """What the user has chosen, in the order of the controls in the page."""

    lore: LoreMode
    temperature: float
    top_p: float
    top_k: int
    repetition_penalty: float
    max_new_tokens: int
    seed: int | str | None
    k: int
    mode: str
    dense_weight: float


@dataclass(frozen=True)
class ReplyOptions:
    """What one reply is made with.

    Attributes:
        ways: for each answer whether the lore is searched.
        sampling: keyword arguments for the model.
        retrieval: how passages are found.
    """

    ways: tuple[bool, ...]
    sampling: dict[str, Any]
    retrieval: RetrievalSettings


def default_controls(settings: Settings) -> Controls:
    """Return the controls as the settings have them."""
    generation, retrieval = settings.generation, settings.retrieval
    return Controls(
        lore="on" if settings.chat.rag else "off",
        temperature=generation.temperature,
        top_p=generation.top_p,
        top_k=generation.top_k,
        repetition_penalty=generation.repetition_penalty,
        max_new_tokens=generation.max_new_tokens,
        seed=generation.seed,
        k=retrieval.k,
        mode=retrieval.mode,
        dense_weight=retrieval.dense_weight,
    )


def reply_options(settings: Settings, controls: Controls, *, again: bool = False) -> ReplyOptions:
    """Turn the controls into options.

    Args:
        settings: for all that has no control.
        controls: what the user chose.
        again: the same message is asked anew: a reply without chance in it would only be repeated, so it is sampled.

    Raises:
        SettingsError: a value is out of its range.
    """
    if controls.lore not in get_args(LoreMode):
        msg = f"Unknown lore mode '{controls.lore}'; known: {', '.join(get_args(LoreMode))}."
        raise SettingsError(msg)
    generation = _changed(
        settings.generation,
        temperature=controls.temperature,
        top_p=controls.top_p,
        top_k=controls.top_k,
        repetition_penalty=controls.repetition_penalty,
        max_new_tokens=controls.max_new_tokens,
        seed=controls.seed,
    )
    retrieval = _changed(
        settings.retrieval,
        k=controls.k,
        candidates=max(int(controls.k), settings.retrieval.candidates),
        mode=controls.mode,
        dense_weight=controls.dense_weight,
    )
    sampling = generation.model_dump(include=set(GenerationSettings.model_fields) - {"stop"})
    if again:
        sampling["seed"] = None
        sampling["temperature"] = sampling["temperature"] or RETRY_TEMPERATURE
    ways = {"on": (True,), "off": (False,), "both": (True, False)}[controls.lore]
    return ReplyOptions(ways, sampling, retrieval)


def _changed(settings: _Checked, **values: Any) -> _Checked:
    try:
        return type(settings).model_validate({**settings.model_dump(), **values})
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        msg = f"{name}: {first['msg']} (got {first['input']!r})."
        raise SettingsError(msg) from error
