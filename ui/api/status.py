"""Addresses for those who run the API: whether it lives, whether it can answer, what it counts, what it offers."""

import html
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Request
from fastapi.responses import HTMLResponse, JSONResponse
from pydantic import BaseModel
from starlette.responses import Response

from elysia_chat.ui.api.parts import SharedParts

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; frame-ancestors 'none'"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem;color-scheme:light dark}"
    "code{font-family:ui-monospace,monospace}td{padding:.25rem 1rem .25rem 0;vertical-align:top}"
)

router = APIRouter(tags=["status"])


class Health(BaseModel):
    """The process lives."""

    status: Literal["ok"] = "ok"


class Readiness(BaseModel):
    """Whether questions can be answered.

    Attributes:
        status: "ready", or "preparing".
        stage: what is being prepared.
        error: one line, where something is missing.
    """

    status: Literal["ready", "preparing", "failed"]
    stage: Literal["lore", "model", "ready"]
    error: str = ""


@router.get("/health")
def health() -> Health:
    """Tell that the process lives."""
    return Health()


@router.get("/ready", response_model=Readiness, responses={503: {"model": Readiness}})
def ready(parts: SharedParts) -> Any:
    """Tell whether lore and model are ready; 503 until then."""
    state = parts.warmup.state
    if state.error:
        told = Readiness(status="failed", stage=state.stage, error=state.error)
    else:
        told = Readiness(status="ready" if state.stage == "ready" else "preparing", stage=state.stage)
    return JSONResponse(told.model_dump(), 200 if told.status == "ready" else 503)


@router.get(
    "/metrics",
    response_class=Response,
    responses={200: {"description": "Prometheus's format.", "content": {"text/plain": {"schema": {"type": "string"}}}}},
)
def metrics(parts: SharedParts, accept: Annotated[str, Header()] = "") -> Response:
    """Show what has been counted."""
    body, content_type = parts.metrics.render(accept)
    return Response(body, headers={"Content-Type": content_type})


@router.get("/docs", include_in_schema=False)
def docs(request: Request) -> HTMLResponse:
    """Show the addresses in a page that fetches nothing from elsewhere."""
    described = request.app.openapi()
    rows = "".join(
        f"<tr><td><code>{method.upper()}</code></td><td><code>{html.escape(path)}</code></td>"
        f"<td>{html.escape(operation.get('description', ''))}</td></tr>"
        for path, operations in described["paths"].items()
        for method, operation in operations.items()
    )
    title = html.escape(described["info"]["title"])
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
        f"</head><body><h1>{title}</h1><p>{html.escape(described['info']['description'])} "
        f'The whole description: <a href="openapi.json">openapi.json</a>.</p><table>{rows}</table></body></html>'
    )
    return HTMLResponse(page, headers={"Content-Security-Policy": _POLICY})
