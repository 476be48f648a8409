"""Puts the API together."""

from importlib.metadata import version

from fastapi import Depends, FastAPI
from fastapi.security import HTTPBearer
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from elysia_chat.ui.api import chat, embeddings, personas, speech, status
from elysia_chat.ui.api.access import Gate, read_tokens
from elysia_chat.ui.api.body import BodyLimit
from elysia_chat.ui.api.metrics import Observer
from elysia_chat.ui.api.parts import Parts
from elysia_chat.ui.api.problems import ProblemBody, add_handlers

PATHS = ("/v1", "/health", "/ready", "/metrics", "/docs", "/openapi.json")
_ABOUT = "Personas that answer from their lore, for every program that speaks OpenAI's API."


def build_app(parts: Parts) -> FastAPI:
    """Return the application.

    Args:
        parts: everything behind it.

    Raises:
        TokensFileError: the file of tokens cannot be read.
    """
    settings, metrics = parts.services.settings.api, parts.metrics
    tokens = read_tokens(settings)
    app = FastAPI(
        title="Elysia Chat",
        description=_ABOUT,
        version=version("elysia-chat"),
        docs_url=None,
        redoc_url=None,
        # The first stands outermost.
        middleware=[
            Middleware(Observer, metrics=metrics),
            *_cors(settings.cors_origins),
            Middleware(Gate, tokens=tokens, requests_per_minute=settings.requests_per_minute, metrics=metrics),
            Middleware(BodyLimit, max_body_mb=settings.max_body_mb, metrics=metrics),
        ],
        responses={"4XX": {"model": ProblemBody}, "5XX": {"model": ProblemBody}},
    )
    app.state.parts = parts
    add_handlers(app, metrics)
    # The gate checks the token, before it reads a body; this describes it.
    bearer = [Depends(HTTPBearer(auto_error=False))] if tokens else []
    for module in (personas, chat, speech, embeddings):
        app.include_router(module.router, dependencies=bearer)
    app.include_router(status.router)
    return app


def belongs_to_api(path: str) -> bool:
    """Tell whether an address is one of the API's, and not of the page's."""
    return any(path == known or path.startswith(f"{known}/") for known in PATHS)


def _cors(origins: tuple[str, ...]) -> list[Middleware]:
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST"],
            allow_headers=["*"],
            expose_headers=["Retry-After"],
        )
    ]
