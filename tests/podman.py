"""A podman service for tests: the socket that CONTAINER_HOST names, else one of ours, apart from the machine's own.

Its settings are what docs/differences.md tells users to set: limits that nobody has to raise, and no process that stays
behind for five minutes after each command.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

SKIPPED = "NO PODMAN"
"""How the reason of every test that is skipped for want of one begins."""
PATIENCE = 20.0
_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[network]
network_config_dir = "{directory}/networks"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
exit_command_delay = 1
"""
_STORAGE = """
[storage]
driver = "vfs"
runroot = "{directory}/run"
graphroot = "{directory}/data"
"""


@contextmanager
def podman_service() -> Iterator[str]:
    """Give the URL of a podman that answers; skip the test where there is none to be had."""
    if host := os.environ.get("CONTAINER_HOST"):
        yield host
        return
    podman = shutil.which("podman")
    if podman is None or os.geteuid() != 0:
        pytest.skip(
            f"{SKIPPED}: no podman is installed" if podman is None else f"{SKIPPED}: podman needs root"
        )
    with tempfile.TemporaryDirectory(prefix="chronoset-podman") as folder:
        directory = Path(folder)
        host = f"unix://{directory}/podman.sock"
        environment = {**os.environ, **_configure(directory)}
        with open(directory / "log", "wb") as log:
            service = subprocess.Popen(
                [podman, "system", "service", "--time=0", host],
                cwd=directory,
                env=environment,
                stdout=log,
                stderr=log,
            )
        try:
            _wait_for(directory / "podman.sock", directory / "log")
            yield host
        finally:
            remove = [podman, "rm", "--all", "--force", "--time", "0"]
            subprocess.run(remove, env=environment, capture_output=True, check=False)
            service.terminate()
            service.wait()


def _configure(directory: Path) -> dict[str, str]:
    """Write what podman reads and return the environment that says where."""
    conf, storage = directory / "containers.conf", directory / "storage.conf"
    conf.write_text(_CONF.format(directory=directory))
    storage.write_text(_STORAGE.format(directory=directory))
    return {"CONTAINERS_CONF": str(conf), "CONTAINERS_STORAGE_CONF": str(storage)}


def _wait_for(socket_path: Path, log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        with socket.socket(socket.AF_UNIX) as probe, suppress(OSError):
            probe.connect(str(socket_path))
            return
        time.sleep(0.05)
    pytest.skip(f"{SKIPPED}: podman does not answer: {log.read_text()[-500:]}")
