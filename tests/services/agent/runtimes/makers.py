"""How each runtime is made for a test, and what it is given: a row for each in MAKERS."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from services.agent.agent import wall_clock
from services.agent.images import ImageStore
from services.agent.lifecycle import Exit
from services.agent.runtimes.docker.engines import open_engine
from services.agent.runtimes.docker.leftovers import end_containers
from services.agent.runtimes.docker.runtime import DockerRuntime
from services.agent.runtimes.port import Runtime
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.simulated import SimulatedRuntime
from services.agent.runtimes.zygotes import Zygote
from tests.dockerd import import_busybox

Ends = queue.SimpleQueue[tuple[str, str, Exit]]
Make = Callable[[], Runtime]
"""Makes a runtime on the same directory: again after `shut_down`, as an agent does that is started again."""


@contextmanager
def processes(request: pytest.FixtureRequest, directory: Path, ends: Ends) -> Iterator[Make]:
    zygote = Zygote()
    yield lambda: ProcessRuntime(directory / "n1", ImageStore(None), zygote, lambda *end: ends.put(end))
    zygote.close()


@contextmanager
def containers(request: pytest.FixtureRequest, directory: Path, ends: Ends) -> Iterator[Make]:
    yield from _containers(request.getfixturevalue("docker_host"), directory, ends)


@contextmanager
def podman_containers(request: pytest.FixtureRequest, directory: Path, ends: Ends) -> Iterator[Make]:
    yield from _containers(request.getfixturevalue("podman_host"), directory, ends)


def _containers(host: str, directory: Path, ends: Ends) -> Iterator[Make]:
    engine = open_engine(host, directory)
    import_busybox(engine.client, "host:1")
    yield lambda: DockerRuntime(directory / "n1", engine, lambda *end: ends.put(end))
    engine.client.close()
    end_containers(host, directory, grace=0, deletes=True)


@contextmanager
def simulations(request: pytest.FixtureRequest, directory: Path, ends: Ends) -> Iterator[Make]:
    yield lambda: SimulatedRuntime(lambda *end: ends.put(end), wall_clock)


MAKERS: dict[str, Callable[[pytest.FixtureRequest, Path, Ends], AbstractContextManager[Make]]] = {
    "process": processes,
    "docker": containers,
    "podman": podman_containers,
    "simulated": simulations,
}
REAL = ("process", "docker", "podman")
COARSE_LOGS = ("podman",)
"""Those that tell whole seconds, and whose tail joins a last line without a newline to the one before."""
_SLOW = ("podman",)


def parameters(names: Iterable[str]) -> list[Any]:
    """Return the names as a fixture's parameters; those that take a minute are `long`."""
    return [pytest.param(name, marks=pytest.mark.long if name in _SLOW else ()) for name in names]
