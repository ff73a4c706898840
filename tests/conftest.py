"""What all tests share: programs that are tested in this process log nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from tests.dockerd import SKIPPED, docker_daemon

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The DOCKER_HOST of a daemon for tests."""
    with docker_daemon() as host:
        yield host


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested, since a reason is not shown by default."""
    skipped = [
        report for report in terminalreporter.stats.get("skipped", ()) if SKIPPED in str(report.longrepr)
    ]
    if skipped:
        terminalreporter.section(f"{len(skipped)} tests were SKIPPED: {SKIPPED}", red=True)
        terminalreporter.line(str(skipped[0].longrepr))
