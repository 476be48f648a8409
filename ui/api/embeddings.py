"""`/v1/embeddings`: texts as vectors, by the model that the lore is searched with."""

import base64
import struct
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, field_validator

from elysia_chat.kb.embedded_search import EMBEDDER
from elysia_chat.kb.embeddings import EMBEDDED
from elysia_chat.ui.api.errors import InvalidRequestError, NotFoundError
from elysia_chat.ui.api.parts import Parts, SharedParts

_MOST_TEXTS = 2048

router = APIRouter(prefix="/v1", tags=["embeddings"])


class EmbeddingsRequest(BaseModel):
    """Texts to be embedded."""

    model_config = ConfigDict(extra="ignore")

    model: str = Field(description="the embedding model of the settings")
    input: str | list[str] = Field(description="a text, or several")
    encoding_format: Literal["float", "base64"] = Field("float", description="base64: float32, little-endian")
    dimensions: int | None = Field(None, description="as many as the model has; they cannot be cut")
    input_type: Literal["passage", "query"] = Field(
        "passage", description="extension: some models embed questions in another way than what is to be found"
    )

    @field_validator("input", mode="before")
    @classmethod
    def _texts(cls, given: object) -> object:
        texts: list[Any] = given if isinstance(given, list) else [given]
        if texts and not all(isinstance(text, str) for text in texts):
            msg = "input: send text, not the numbers of tokens (LangChain: check_embedding_ctx_length=False)."
            raise ValueError(msg)
        if not texts or len(texts) > _MOST_TEXTS or not all(text.strip() for text in texts):
            msg = f"input: send 1 to {_MOST_TEXTS} texts, none of them empty."
            raise ValueError(msg)
        return texts


class Embedding(BaseModel):
    """One vector of length 1."""

    object: Literal["embedding"] = "embedding"
    index: int
    embedding: list[float] | str


class EmbeddingsUsage(BaseModel):
    """Tokens; they are not counted here."""

    prompt_tokens: int = 0
    total_tokens: int = 0


class Embeddings(BaseModel):
    """The vectors of all texts, in their order."""

    object: Literal["list"] = "list"
    model: str
    data: list[Embedding]
    usage: EmbeddingsUsage = EmbeddingsUsage()


@router.post("/embeddings")
async def embed(body: EmbeddingsRequest, parts: SharedParts) -> Embeddings:
    """Embed texts."""
    _check_model(parts, body.model)
    vectors = await parts.other.call(lambda: _vectors(parts, body))
    if body.dimensions not in (None, len(vectors[0])):
        msg = f"dimensions: the vectors of this model have {len(vectors[0])}, which cannot be changed."
        raise InvalidRequestError(msg, param="dimensions")
    data = [
        Embedding(index=index, embedding=_packed(vector) if body.encoding_format == "base64" else vector)
        for index, vector in enumerate(vectors)
    ]
    return Embeddings(model=body.model, data=data)


def _check_model(parts: Parts, model: str) -> None:
    name = parts.services.settings.embeddings.name
    known = [name, *([EMBEDDER.name] if name == EMBEDDED else [])]
    if model not in known:
        msg = f"There is no embedding model '{model}' here; it is called {' or '.join(known)}."
        raise NotFoundError(msg, param="model", code="model_not_found")


def _vectors(parts: Parts, body: EmbeddingsRequest) -> list[list[float]]:
    texts = [body.input] if isinstance(body.input, str) else body.input
    embeddings = parts.services.embeddings
    if body.input_type == "query":
        return [embeddings.embed_query(text) for text in texts]
    return embeddings.embed_documents(texts)


def _packed(vector: list[float]) -> str:
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode("ascii")
