"""What every test of reliability adds to, and the table they end with."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    counts: dict[str, dict[str, int]] = defaultdict(lambda: {"passed": 0, "tried": 0})
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for key, kind in report.user_properties if report.when == "call" else ():
                counts[kind][key] += 1
    if counts:
        terminalreporter.section("reliability, passed / tried")
        for kind, count in sorted(counts.items()):
            terminalreporter.line(f"{kind:32} {count['passed']:5} / {count['tried']}")
