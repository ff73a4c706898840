"""A Docker daemon for tests: the one that DOCKER_HOST names, else one that `.ci/dockerd` starts and we share.

Every test process holds a shared lock while it uses the daemon; the last one to go stops it. Where there can be none
(no root, no dockerd) the tests are skipped, and the end of the test run says so (tests.conftest).
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.agent.runtimes.docker.pauses import import_layer

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


_APPLETS = """
[ cat chmod chown cp cut date dd df du echo env false grep head hostname httpd id ip kill ls mkdir mount nc nslookup
ping printf ps pwd rm sed seq sh sleep sort stat stty tail test timeout touch tr true tty umount vi wc wget
"""


def import_busybox(client: Any, *names: str) -> None:
    """Make an image of the machine's own (static) busybox, without a registry, under each of `names`."""
    binary = shutil.which("busybox")
    if binary is None:
        pytest.skip(f"{SKIPPED}: there is no busybox to make images of")
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        tar.add(binary, "bin/busybox")
        for applet in _APPLETS.split():
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        for name, mode in (("tmp", 0o1777), ("etc", 0o755), ("usr/bin", 0o755)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
    for name in [name for name in names if not client.images(name)]:
        import_layer(client, layer.getvalue(), name, "ENV PATH=/bin")
