"""A program's metrics on a socket of its own, or on a port: a thread that sleeps until somebody asks."""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from socketserver import BaseServer, ThreadingTCPServer, ThreadingUnixStreamServer

from prometheus_client import CollectorRegistry, MetricsHandler, disable_created_metrics

from schemas.errors import BadRequest
from services.metrics.measures import REGISTRY
from services.sockets import METRICS

_ASLEEP = 3_600.0
"""Seconds between two looks of a server's thread at whether it is to end: it ends with its process."""


class _Port(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


class _Socket(ThreadingUnixStreamServer):
    daemon_threads = True


def socket_of(directory: Path, program: str) -> Path:
    """Return where a program of this machine serves its metrics, inside the cluster's private directory."""
    return directory / f"{METRICS}{program}.sock"


def serve_on_socket(path: Path, registry: CollectorRegistry = REGISTRY) -> None:
    """Serve metrics on a unix socket, from now on; whatever is there is replaced."""
    with suppress(FileNotFoundError):
        path.unlink()
    _serve(_Socket(str(path), MetricsHandler.factory(registry)))


def serve_on_port(address: str, port: int, registry: CollectorRegistry = REGISTRY) -> int:
    """Serve metrics on a TCP port (0: any that is free) and return it. Raises BadRequest where it is taken."""
    try:
        server = _Port((address, port), MetricsHandler.factory(registry))
    except OSError as error:
        raise BadRequest(
            f"--metrics: {address}:{port} cannot be listened on ({error.strerror}); name another port"
        ) from error
    _serve(server)
    return int(server.server_address[1])


def _serve(server: BaseServer) -> None:
    disable_created_metrics()  # type: ignore[no-untyped-call]  # the library has no type for it
    threading.Thread(target=server.serve_forever, args=(_ASLEEP,), name="metrics", daemon=True).start()
