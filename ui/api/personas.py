"""`/v1/models`: the personas."""

from contextlib import suppress
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.api.errors import NotFoundError
from elysia_chat.ui.api.parts import Parts, SharedParts
from elysia_chat.ui.services import Services

WITHOUT_LORE = "norag"
_OWNER = "elysia-chat"

router = APIRouter(prefix="/v1/models", tags=["models"])


class Model(BaseModel):
    """A persona, as something that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = _OWNER
    name: str


class Models(BaseModel):
    """All of them."""

    object: Literal["list"] = "list"
    data: list[Model]


@router.get("")
def list_models(parts: SharedParts) -> Models:
    """List the personas, each with her lore and without; the configured one first."""
    models: list[Model] = []
    for name in sorted(parts.services.persona_names(), key=lambda name: name != parts.services.settings.persona):
        # A card that cannot be read hides its persona, not all of them.
        with suppress(ElysiaChatError):
            models += [_model(parts, name, True), _model(parts, name, False)]
    return Models(data=models)


@router.get("/{model}")
def show_model(model: str, parts: SharedParts) -> Model:
    """Show one of them."""
    return _model(parts, *find_persona(parts.services, model))


def find_persona(services: Services, model: str) -> tuple[str, bool]:
    """Return which persona a model's name means, and whether she may search her lore.

    Raises:
        NotFoundError: there is no such persona; the message names the known ones.
    """
    name, separator, variant = model.partition("@")
    known = services.persona_names()
    if name not in known or (separator and variant != WITHOUT_LORE):
        msg = f"There is no model '{model}'; known: {', '.join(known)}, each also with @{WITHOUT_LORE}."
        raise NotFoundError(msg, param="model", code="model_not_found")
    return name, not separator


def _model(parts: Parts, name: str, lore: bool) -> Model:
    title = parts.services.persona(name).title
    if lore:
        return Model(id=name, created=parts.started_at, name=title)
    return Model(id=f"{name}@{WITHOUT_LORE}", created=parts.started_at, name=f"{title} (without lore)")
