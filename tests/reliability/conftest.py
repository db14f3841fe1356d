"""What every test of reliability adds to the table that they end with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

HERE = "tests/reliability/"


class Tally:
    """Counts what was tried and what was survived, of one kind."""

    def __init__(self, properties: list[tuple[str, object]]) -> None:
        self.properties = properties

    @contextmanager
    def __call__(self, kind: str) -> Iterator[None]:
        """Try something; it has passed where the block does not raise."""
        self.properties.append(("tried", kind))
        yield
        self.properties.append(("passed", kind))


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    return Tally(request.node.user_properties)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.nodeid.startswith(HERE):
            item.add_marker(pytest.mark.reliability)
