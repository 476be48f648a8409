"""Fixtures that every test shares."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from elysia_chat.configs.paths import HOME_VARIABLE

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Path]:
    """Give each test a data folder of its own, except those that use the embedded weights, converted only once."""
    if request.node.get_closest_marker("weights"):
        from elysia_chat.configs.paths import home

        yield home()
        return
    folder = tmp_path / "home"
    monkeypatch.setenv(HOME_VARIABLE, str(folder))
    yield folder


@pytest.fixture
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that need it skip where it is absent."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        pytest.skip("the reference data folder ../shared is not here")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a failed test of the browser once more: two busy cores sometimes outlast a wait. The report names it."""
    for item in items:
        if item.get_closest_marker("browser"):
            item.add_marker(pytest.mark.flaky(reruns=1))
