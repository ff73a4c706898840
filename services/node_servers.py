"""Where a node's server is, as the node's object tells it: for the API, and for a command on the same machine.

A node that has joined serves TCP, `status.daemonEndpoints.kubeletEndpoint.Port` at its InternalIP, with a certificate
that has its name, to whoever shows the API's (services.api.identity.node_certificates). One that shares the control
plane's data directory serves a socket in the cluster's private directory (services.sockets) and names it in an
annotation: a file's name of one form only, so that no node can send anyone to another program's socket.
"""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import Unavailable
from schemas.objects import Object, name_of

SOCKET_ANNOTATION = "chronoset.dev/server-socket"
NODES_FOLDER = "nodes"
"""Where the API's folder has the authority of the nodes' servers, and the certificate by which they know the API."""
API_FILE = "client.pem"
"""That certificate, and its key."""
_FILE_NAME = re.compile(r"nodes[-a-z0-9.]{0,19}")


@dataclass(frozen=True, slots=True)
class ServerPlace:
    """Where to connect: to `socket` where that is given, else to `host` and `port`, for the server of `node`."""

    node: str
    socket: Path | None = None
    host: str = ""
    port: int = 0


def server_of(node: Object, socket_dir: Path) -> ServerPlace:
    """Return where the server of a node is: its port, if it tells one, else its socket. Raises Unavailable."""
    status = node.get("status") or {}
    port = ((status.get("daemonEndpoints") or {}).get("kubeletEndpoint") or {}).get("Port", 0)
    hosts = [each["address"] for each in status.get("addresses") or () if each["type"] == "InternalIP"]
    if port and hosts:
        return ServerPlace(name_of(node), host=hosts[0], port=port)
    name = (node["metadata"].get("annotations") or {}).get(SOCKET_ANNOTATION, "")
    if _FILE_NAME.fullmatch(name) and (socket_dir / name).is_socket():
        return ServerPlace(name_of(node), socket=socket_dir / name)
    raise Unavailable(f"node {name_of(node)!r} cannot be asked: no server of it can be reached from here")


def tls_to_nodes(folder: Path) -> ssl.SSLContext:
    """Return what asks nodes' servers, as the API: by what lies in its folder for that. Raises OSError."""
    context = ssl.create_default_context(cafile=folder / "ca.crt")
    context.load_cert_chain(folder / API_FILE)
    return context
