"""How each runtime is made for a test, and what it is given: a row for each in MAKERS."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

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
    host = request.getfixturevalue("docker_host")
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
    "simulated": simulations,
}
REAL = ("process", "docker")
