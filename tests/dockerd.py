"""A Docker daemon for tests: the one that DOCKER_HOST names, else one that `.ci/dockerd` starts and we share.

Every test process holds a shared lock while it uses the daemon; the last one to go stops it. Where there can be none
(no root, no dockerd) the tests are skipped, and the end of the test run says so (tests.conftest).
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / ".ci" / "dockerd"
SKIPPED = "NO DOCKER DAEMON"
"""How the reason of every test that is skipped for want of one begins."""


@contextmanager
def docker_daemon() -> Iterator[str]:
    """Give the DOCKER_HOST of a daemon that answers; skip the test where there is none to be had."""
    if host := os.environ.get("DOCKER_HOST"):
        yield host
        return
    with open(Path(tempfile.gettempdir(), "chronoset-dockerd.users"), "w") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        begun = subprocess.run([SCRIPT, "start", "--for-tests"], capture_output=True, text=True, check=False)
        if begun.returncode != 0:
            pytest.skip(f"{SKIPPED}: {begun.stderr.strip()}")
        try:
            yield begun.stdout.strip()
        finally:
            _stop_if_last(users.fileno())


def _stop_if_last(users: int) -> None:
    """Stop the daemon unless another process has come to use it: none can begin to while we hold the lock alone."""
    try:
        fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return
    subprocess.run([SCRIPT, "stop", "--for-tests"], check=True)
