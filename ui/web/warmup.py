"""What is made ready behind the page while it is already open: the lore's index, the model, the voices."""

import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.services import Services
from elysia_chat.ui.web.ingest_runs import IngestRuns

Stage = Literal["lore", "model", "ready"]


@dataclass(frozen=True)
class Warmth:
    """How far the preparation is; `error` is one line, where something is missing."""

    stage: Stage
    error: str = ""


class Warmup:
    """Prepares in a thread of its own.

    Args:
        services: what is prepared.
        runs: where the ingest is asked for, so that pages can watch it.
    """

    def __init__(self, services: Services, runs: IngestRuns) -> None:
        self._services = services
        self._runs = runs
        self._errors: list[str] = []
        self._stage: Stage = "lore"

    @property
    def state(self) -> Warmth:
        """How far it is."""
        return Warmth(self._stage, " ".join(dict.fromkeys(self._errors)))

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._work, name="warmup", daemon=True).start()

    def _work(self) -> None:
        try:
            self._lore()
            self._stage = "model"
            self._model()
        finally:
            self._stage = "ready"
        self._voices()

    def _lore(self) -> None:
        """Bring the index up to the documents: the first time that builds it, later it finds little to do."""
        *_, last = self._runs.request(self._services.settings.persona).follow()
        if last.error:
            self._errors.append(last.error)

    def _model(self) -> None:
        try:
            self._services.prepare()
            _ = self._services.reranker(), self._services.model
        except ElysiaChatError as error:
            self._errors.append(str(error))

    def _voices(self) -> None:
        """Load the voices, so that the first sentence need not wait for them; what is wrong a reply will tell."""
        if self._services.settings.voice.enabled:
            with suppress(ElysiaChatError):
                self._services.speech.load(self._services.persona().card.voices)
