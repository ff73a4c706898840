"""The daemon that runs the containers of a machine, and the network that they share there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from schemas.errors import Unavailable

DEFAULT_URL = "unix:///var/run/docker.sock"
DIRECTORY = "chronoset.dev/directory"
"""The label of a network: the absolute directory below which the nodes are whose pods it connects."""
PATIENCE = 60
"""Seconds that the daemon may take for an answer, but for pulls and what is followed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A daemon and the nodes' network: containers reach the machine, and so its name server, at `gateway`."""

    client: Any
    network: str
    gateway: str
    is_podman: bool = False


def connect_engine(url: str) -> Any:
    """Return a client of the daemon at `url` (unix://, tcp://; podman's socket too). Raises Unavailable."""
    try:
        client = APIClient(base_url=url or DEFAULT_URL, version="auto", timeout=PATIENCE, max_pool_size=32)
    except (DockerException, OSError):
        raise Unavailable(
            f"no Docker daemon answers at {url or DEFAULT_URL}: start it, or name another in DOCKER_HOST"
        ) from None
    return client


def open_engine(url: str, directory: Path) -> Engine:
    """Return the daemon at `url`, with the network of the nodes below `directory` made there. Raises Unavailable."""
    client, name = connect_engine(url), network_name(directory)
    try:
        found = _network(client, name, directory)
        is_podman = any("Podman" in each["Name"] for each in client.version().get("Components") or ())
    except (DockerException, OSError) as error:
        client.close()
        raise Unavailable(f"the Docker daemon makes no network: {sentence_of(error)}") from None
    configs = (found.get("IPAM") or {}).get("Config") or [{}]
    return Engine(client, name, str(configs[0].get("Gateway", "")).partition("/")[0], is_podman)


def network_name(directory: Path) -> str:
    """Return the name of the network of the nodes below `directory`."""
    return f"chronoset-{hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:12]}"


def _network(client: Any, name: str, directory: Path) -> Any:
    try:
        return client.inspect_network(name)
    except NotFound:
        client.create_network(
            name, driver="bridge", check_duplicate=True, labels={DIRECTORY: str(directory.resolve())}
        )
        return client.inspect_network(name)


def sentence_of(error: Exception) -> str:
    """Return what the daemon said went wrong."""
    return str(error.explanation or error) if isinstance(error, APIError) else str(error)
