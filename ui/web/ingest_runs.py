"""Ingest runs in the background, one at a time for each persona, that every open page may watch.

A run goes on when the page that asked for it is closed. Whoever asks while one is going on gets the next one, since
the present one may have read the documents already.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ui.services import Services

if TYPE_CHECKING:
    from elysia_chat.ingest.report import IngestReport, Progress

_POLL_SECONDS = 0.2


@dataclass(frozen=True)
class RunState:
    """How far a run is. While it goes on both `report` and `error` are empty."""

    progress: "Progress | None" = None
    report: "IngestReport | None" = None
    error: str = ""

    @property
    def done(self) -> bool:
        """Whether the run has ended, well or not."""
        return self.report is not None or bool(self.error)


class _Run:
    def __init__(self) -> None:
        self.paths: list[Path] = []
        self.state = RunState()


class IngestRuns:
    """Starts runs and tells how far they are.

    Args:
        services: does the work.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._lock = threading.Lock()
        self._waiting: dict[str, deque[_Run]] = defaultdict(deque)
        self._running: dict[str, _Run] = {}

    def request(self, persona: str, paths: Sequence[Path] = ()) -> "Ticket":
        """Ask for a run that sees everything there is by now.

        Args:
            persona: whose documents.
            paths: files to take into the lore; deleted when they have been read.
        """
        with self._lock:
            waiting = self._waiting[persona]
            if not waiting:
                waiting.append(_Run())
            run = waiting[0]
            run.paths += paths
            if persona not in self._running:
                self._running[persona] = run
                threading.Thread(target=self._work, args=(persona,), name=f"ingest-{persona}", daemon=True).start()
        return Ticket(run)

    def current(self, persona: str) -> RunState | None:
        """Return how far the run of a persona is; None while there is none."""
        run = self._running.get(persona)
        return run.state if run else None

    def _work(self, persona: str) -> None:
        while True:
            with self._lock:
                if not self._waiting[persona]:
                    del self._running[persona]
                    return
                run = self._running[persona] = self._waiting[persona].popleft()
            self._ingest(persona, run)

    def _ingest(self, persona: str, run: _Run) -> None:
        def tell(progress: "Progress") -> None:
            run.state = RunState(progress)

        # The last word, should the run end in a way that nobody foresaw: its watchers must not wait for ever.
        outcome = RunState(error="The ingest broke off; the log has the reason. Try it again.")
        try:
            outcome = RunState(report=self._services.ingest(persona, run.paths, tell))
        except ElysiaChatError as error:
            outcome = RunState(error=str(error))
        finally:
            for path in run.paths:
                path.unlink(missing_ok=True)
            run.state = outcome


class Ticket:
    """A run that was asked for.

    Args:
        run: that run.
    """

    def __init__(self, run: _Run) -> None:
        self._run = run

    @property
    def state(self) -> RunState:
        """How far it is."""
        return self._run.state

    def follow(self, seconds: float = _POLL_SECONDS) -> Iterator[RunState]:
        """Yield how far the run is each time that has changed, until it has ended."""
        last = None
        while True:
            state = self._run.state
            if state is not last:
                yield state
                last = state
            if state.done:
                return
            time.sleep(seconds)
