"""The daemon that runs the containers of a machine, and the network that is the cluster's there."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

from docker import APIClient
from docker.errors import APIError, DockerException, NotFound

from schemas.errors import Unavailable

DEFAULT_URL = "unix:///var/run/docker.sock"
CLUSTER = "chronoset.dev/cluster"
PATIENCE = 60
"""Seconds that the daemon may take for an answer, but for pulls and what is followed."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A daemon and the cluster's network: containers reach the machine, and so its name server, at `gateway`."""

    client: Any
    network: str
    gateway: str


def connect_engine(url: str) -> Any:
    """Return a client of the daemon at `url` (unix://, tcp://; podman's socket too). Raises Unavailable."""
    try:
        client = APIClient(base_url=url or DEFAULT_URL, version="auto", timeout=PATIENCE, max_pool_size=32)
    except (DockerException, OSError) as error:
        raise Unavailable(
            f"no Docker daemon answers at {url or DEFAULT_URL}: start it, or name another in DOCKER_HOST ({error})"
        ) from None
    return client


def open_engine(url: str, cluster: str) -> Engine:
    """Return the daemon at `url` with the network of `cluster` (any text that tells it from others) made there."""
    client = connect_engine(url)
    name = network_name(cluster)
    try:
        found = client.inspect_network(name)
    except NotFound:
        client.create_network(name, driver="bridge", check_duplicate=True, labels={CLUSTER: cluster})
        found = client.inspect_network(name)
    configs = (found.get("IPAM") or {}).get("Config") or [{}]
    return Engine(client, name, str(configs[0].get("Gateway", "")).partition("/")[0])


def network_name(cluster: str) -> str:
    """Return the name of a cluster's network."""
    return f"chronoset-{hashlib.sha256(cluster.encode()).hexdigest()[:12]}"


def sentence_of(error: Exception) -> str:
    """Return what the daemon said went wrong."""
    return str(error.explanation or error) if isinstance(error, APIError) else str(error)
