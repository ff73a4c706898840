"""Where the node's server listens."""

from __future__ import annotations

import contextlib
import socket
from pathlib import Path

from schemas.errors import Unavailable

SOCKET_NAME = "nodes.sock"
PORT = 10250
"""The kubelet's."""
BACKLOG = 128


def listening_at(path: Path) -> socket.socket:
    """Return a socket for this user alone; a file that somebody has left there is replaced. Raises Unavailable."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        raise Unavailable(f"the node's server cannot listen at {path}: {error}") from error
    return listening


def listening_on(address: str, port: int = PORT) -> socket.socket:
    """Return a socket at an address of this machine: on `port`, or on any where another program has that.

    Raises Unavailable.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for each in (port, 0):
        with contextlib.suppress(OSError):
            return socket.create_server((address, each), family=family, backlog=BACKLOG)
    raise Unavailable(f"the node's server cannot listen at {address}, which is no address of this machine")
