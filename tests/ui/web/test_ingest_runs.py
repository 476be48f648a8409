"""Runs in the background: one at a time, none forgotten, watched by anybody."""

import threading
from pathlib import Path

import pytest

from elysia_chat.configs.errors import ElysiaChatError
from elysia_chat.ingest.report import IngestReport, Progress
from elysia_chat.ui.web.ingest_runs import IngestRuns
from elysia_chat.ui.web.warmup import Warmup

from .parts import ServicesWith, make_persona


class SlowServices:
    """Ingests when it is allowed to."""

    def __init__(self, error: Exception | None = None) -> None:
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.calls: list[list[Path]] = []
        self._error = error

    def ingest(self, persona, paths, progress):
        self.calls.append(list(paths))
        progress(Progress("read", 1, 2, "a.md"))
        self.begun.release()
        self.go.acquire(timeout=10)
        if self._error:
            raise self._error
        return IngestReport(added=[f"run {len(self.calls)}"])


def last_state(ticket):
    *_, last = ticket.follow(0.01)
    return last


def test_whoever_asks_during_a_run_gets_the_next_one():
    services = SlowServices()
    runs = IngestRuns(services)
    first = runs.request("violet")
    services.begun.acquire(timeout=10)
    assert runs.current("violet").progress == Progress("read", 1, 2, "a.md")
    second, third = runs.request("violet"), runs.request("violet")
    services.go.release(2)
    assert last_state(first).report.added == ["run 1"]
    assert last_state(second) is last_state(third)
    assert last_state(second).report.added == ["run 2"]
    assert len(services.calls) == 2


def test_uploads_are_deleted_when_they_have_been_read(tmp_path):
    upload = tmp_path / "upload.md"
    upload.write_text("text")
    services = SlowServices()
    services.go.release()
    last_state(IngestRuns(services).request("violet", [upload]))
    assert services.calls == [[upload]]
    assert not upload.exists()


def test_an_error_is_told_and_the_next_run_works():
    services = SlowServices(ElysiaChatError("Another run is going on."))
    services.go.release(2)
    runs = IngestRuns(services)
    assert last_state(runs.request("violet")).error == "Another run is going on."
    services._error = None
    assert last_state(runs.request("violet")).report is not None


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_watchers_are_told_when_a_run_ends_in_a_way_nobody_foresaw():
    services = SlowServices(ZeroDivisionError())
    services.go.release()
    assert "broke off" in last_state(IngestRuns(services).request("violet")).error


class BrokenModelServices(ServicesWith):
    @property
    def model(self):
        msg = "The weights are missing: pip install them."
        raise ElysiaChatError(msg)


def test_what_is_missing_is_said_when_everything_else_is_ready():
    make_persona()
    services = BrokenModelServices(None)
    warmup = Warmup(services, IngestRuns(services))
    warmup._work()
    assert warmup.state.stage == "ready"
    assert warmup.state.error == "The weights are missing: pip install them."
    assert len(services.documents()) == 2
