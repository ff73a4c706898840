"""What all tests share: programs that are tested in this process log nothing."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import structlog

from tests.dockerd import SKIPPED as NO_DOCKER
from tests.dockerd import docker_daemon
from tests.podman import SKIPPED as NO_PODMAN
from tests.podman import podman_service

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
if (
    signal.getsignal(signal.SIGINT) is signal.SIG_IGN
):  # as in the background of a shell; programs would inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Run a test of real processes or servers once more where it fails, and say so (RERUN): time is not theirs."""
    for item in items:
        is_real = item.get_closest_marker("e2e") or item.get_closest_marker("server")
        if is_real and config.pluginmanager.hasplugin("rerunfailures"):
            item.add_marker(pytest.mark.flaky(reruns=1))


@pytest.fixture(scope="session")
def docker_host() -> Iterator[str]:
    """The DOCKER_HOST of a daemon for tests."""
    with docker_daemon() as host:
        yield host


@pytest.fixture(scope="session")
def podman_host() -> Iterator[str]:
    """The URL of a podman service for tests."""
    with podman_service() as host:
        yield host


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say loudly what was not tested, since a reason is not shown by default."""
    all_skipped = terminalreporter.stats.get("skipped", ())
    for reason in (NO_DOCKER, NO_PODMAN):
        skipped = [report for report in all_skipped if reason in str(report.longrepr)]
        if skipped:
            terminalreporter.section(f"{len(skipped)} tests were SKIPPED: {reason}", red=True)
            terminalreporter.line(str(skipped[0].longrepr))
