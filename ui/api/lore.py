"""Makes sure that a persona's lore can be searched before the first question is asked of it."""

import time

from elysia_chat.ui.api.errors import NotReadyError
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.ingest_runs import IngestRuns

_LONGEST_WAIT_SECONDS = 20.0
_RETRY_SECONDS = 10


class Lore:
    """Builds what is missing. Safe from any thread.

    Args:
        services: hold the indexes.
        runs: build them, one at a time for each persona.
    """

    def __init__(self, services: Services, runs: IngestRuns) -> None:
        self._services = services
        self._runs = runs
        self._checked: set[str] = set()

    def ensure(self, persona: str) -> None:
        """Return when a persona's lore has been indexed, or soon.

        Raises:
            NotReadyError: that takes long, or has failed; it goes on meanwhile.
            IndexUnavailableError: the index cannot be used.
        """
        if persona in self._checked:
            return
        if self._services.persona(persona).documents() and not self._services.is_indexed(persona):
            self._build(persona)
        self._checked.add(persona)

    def _build(self, persona: str) -> None:
        deadline = time.monotonic() + _LONGEST_WAIT_SECONDS
        for state in self._runs.request(persona).follow():
            if state.error:
                raise NotReadyError(state.error)
            if not state.done and time.monotonic() > deadline:
                msg = f"The lore of '{persona}' is being indexed, which goes on: try again in some seconds."
                raise NotReadyError(msg, retry_after=_RETRY_SECONDS)
