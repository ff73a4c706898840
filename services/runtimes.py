"""Which runtime the nodes of a data directory have, what they share of it, and the end of all that it has started.

The choice is remembered: started again without a word, a cluster of containers must not run their commands as
processes of the machine.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import structlog

from schemas.errors import BadRequest
from services.agent.dns import NameServer
from services.agent.images import ImageStore
from services.agent.runtimes.leftovers import end_leftovers
from services.agent.runtimes.port import OnExit, Runtime
from services.agent.runtimes.process import ProcessRuntime
from services.agent.runtimes.zygotes import Zygote
from services.agent.zones import Zone
from services.settings import Settings

if TYPE_CHECKING:
    from services.agent.runtimes.docker.engines import Engine

RUNTIME, DOCKER_HOST = "runtime", "docker-host"
"""The files of a data directory that remember the choice, and where the containers are."""
PROCESS, DOCKER = "process", "docker"
DNS_PORT = 53
_log = structlog.get_logger()


class Runtimes(Protocol):
    """What the nodes of one machine share: made first, while there are no threads yet."""

    def answer_names(self, zone: Callable[[], Zone]) -> None:
        """Answer the questions of pods for names by `zone`."""
        ...

    def make(self, directory: Path, on_exit: OnExit) -> Runtime:
        """Return the runtime of the node whose folder is `directory`."""
        ...

    def close(self) -> None:
        """Let go of what is shared; what runs goes on."""
        ...


class ProcessRuntimes:
    """Plain processes, forked by one zygote."""

    def __init__(self, settings: Settings, shares_address: bool = False) -> None:
        self._settings = settings
        self._shares_address = shares_address
        self._zygote = Zygote()
        self._names: NameServer | None = None

    def answer_names(self, zone: Callable[[], Zone]) -> None:
        self._names = NameServer(zone, self._settings.data_dir / "dns-port")

    def make(self, directory: Path, on_exit: OnExit) -> Runtime:
        images = ImageStore(self._settings.image_dir.resolve())
        environment, limit = _environment(self._names), self._settings.pod_pids
        return ProcessRuntime(
            directory, images, self._zygote, on_exit, environment, limit, self._shares_address
        )

    def close(self) -> None:
        if self._names is not None:
            self._names.close()
        self._zygote.close()


class DockerRuntimes:
    """Containers of one daemon on one network, at whose gateway the name server is: the machine, as they see it."""

    def __init__(self, settings: Settings, shares_address: bool = False) -> None:
        from services.agent.runtimes.docker.engines import open_engine

        self._settings = settings
        self._shares_address = shares_address
        self._engine: Engine = open_engine(settings.docker_host, settings.data_dir.resolve())
        self._names: NameServer | None = None

    def answer_names(self, zone: Callable[[], Zone]) -> None:
        """Answer at the port where resolvers ask; where that is not to be had, names are only in the hosts files."""
        gateway = self._engine.gateway
        names = NameServer(zone, self._settings.data_dir / "docker-dns-port", gateway, DNS_PORT)
        if names.place != f"{gateway}:{DNS_PORT}":
            _log.warning(
                "containers have no name server: its port is taken, or needs root",
                place=f"{gateway}:{DNS_PORT}",
            )
            names.close()
            return
        self._names = names

    def make(self, directory: Path, on_exit: OnExit) -> Runtime:
        from services.agent.runtimes.docker.runtime import DockerRuntime

        server = self._engine.gateway if self._names else ""
        environment = _environment(self._names)
        return DockerRuntime(directory, self._engine, on_exit, server, environment, self._shares_address)

    def close(self) -> None:
        if self._names is not None:
            self._names.close()
        self._engine.client.close()


def open_runtimes(settings: Settings, shares_address: bool = False) -> Runtimes:
    """Return the runtimes that `settings` name (see `with_runtime`). Raises Unavailable.

    `shares_address`: pods have their node's own address.
    """
    kind = DockerRuntimes if settings.runtime == DOCKER else ProcessRuntimes
    return kind(settings, shares_address)


def with_runtime(settings: Settings) -> Settings:
    """Return settings that name a runtime: the one given, else that of last time, else processes.

    Raises BadRequest where docker's package is not installed, Unavailable where its daemon does not answer.
    """
    settings = replace(settings, runtime=settings.runtime or _read(settings.data_dir, RUNTIME) or PROCESS)
    if settings.runtime == DOCKER:
        settings = replace(
            settings, docker_host=settings.docker_host or _read(settings.data_dir, DOCKER_HOST)
        )
        _connect(settings.docker_host).close()
    return settings


def remember_runtime(settings: Settings) -> None:
    """Write down the runtime, and where the containers are."""
    (settings.data_dir / RUNTIME).write_text(settings.runtime)
    if settings.runtime == DOCKER:
        (settings.data_dir / DOCKER_HOST).write_text(settings.docker_host)


def end_pods(data_dir: Path, grace: float, deletes: bool = False) -> int:
    """End all that pods run, of which no agent is left; return how many containers that were.

    `deletes` removes what ended containers keep, their logs, with the data. Raises Unavailable where there are
    containers and their daemon does not answer.
    """
    ended = end_leftovers(data_dir, grace)
    if (data_dir / DOCKER_HOST).exists():
        from services.agent.runtimes.docker.leftovers import end_containers

        ended += end_containers(_read(data_dir, DOCKER_HOST), data_dir, grace, deletes)
    return ended


def _connect(host: str) -> Any:
    try:
        from services.agent.runtimes.docker.engines import connect_engine
    except ImportError:
        raise BadRequest(
            "--runtime: 'docker' needs the Python package docker: install it, or chronoset[docker]"
        ) from None
    return connect_engine(host)


def _environment(names: NameServer | None) -> dict[str, str]:
    return {"CHRONOSET_DNS": names.place} if names else {}


def _read(data_dir: Path, name: str) -> str:
    with suppress(FileNotFoundError):
        return (data_dir / name).read_text()
    return ""
