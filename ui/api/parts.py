"""What the addresses of one API share."""

import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from elysia_chat.ui.api.lore import Lore
from elysia_chat.ui.api.metrics import Metrics
from elysia_chat.ui.api.work import Workers
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.warmup import Warmup

# Speech and embeddings take turns inside anyway; this many may wait in threads.
_OTHER_WORK = 8


@dataclass(frozen=True)
class Parts:
    """One for each API.

    Attributes:
        services: everything behind it.
        metrics: what it counts.
        lore: makes sure that a persona's lore can be searched.
        warmup: how far the preparation is.
        answers: threads that answer.
        other: threads for speech and embeddings.
        started_at: seconds since 1970.
    """

    services: Services
    metrics: Metrics
    lore: Lore
    warmup: Warmup
    answers: Workers
    other: Workers
    started_at: int = field(default_factory=lambda: int(time.time()))

    @classmethod
    def of(cls, services: Services, lore: Lore, warmup: Warmup) -> "Parts":
        """Return the parts of an API over some services."""
        limits, metrics = services.settings.api, Metrics()
        answers = Workers("answers", limits.concurrency, limits.queue)
        other = Workers("other", _OTHER_WORK, limits.queue)
        for name, workers in (("answers", answers), ("other", other)):
            metrics.watch(name, workers.count_running, workers.count_waiting)
        return cls(services, metrics, lore, warmup, answers, other)

    def close(self) -> None:
        """End what is being computed."""
        self.answers.close()
        self.other.close()


def _parts(request: Request) -> Parts:
    parts: Parts = request.app.state.parts
    return parts


SharedParts = Annotated[Parts, Depends(_parts)]
