"""Where a node's server is, as the node's object tells it: for the API, and for a command on the same machine.

A node on the cluster's own machine serves a socket in the cluster's private directory (services.sockets) and names it
in an annotation: a file's name of one form only, so that no node can send anyone to another program's socket. A node
elsewhere serves TCP: `status.daemonEndpoints.kubeletEndpoint.Port` at its InternalIP, with a bearer token.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Unavailable
from schemas.objects import Object, name_of

SOCKET_ANNOTATION = "chronoset.dev/server-socket"
_FILE_NAME = re.compile(r"nodes[-a-z0-9.]{0,19}")


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where to connect: to `socket` where that is given, else to `host` and `port`."""

    socket: Path | None = None
    host: str = ""
    port: int = 0


def server_of(node: Object, socket_dir: Path) -> ServerPlace:
    """Return where the server of a node is; its socket, where that is on this machine. Raises Unavailable."""
    name = (node["metadata"].get("annotations") or {}).get(SOCKET_ANNOTATION, "")
    if _FILE_NAME.fullmatch(name) and (socket_dir / name).is_socket():
        return ServerPlace(socket=socket_dir / name)
    status = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
    hosts = [each["address"] for each in status.get("addresses") or () if each["type"] == "InternalIP"]
    if port and hosts:
        return ServerPlace(host=hosts[0], port=port)
    raise Unavailable(f"node {name_of(node)!r} cannot be asked: no server of it can be reached from here")
