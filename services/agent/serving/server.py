"""The node's server in a thread of its own: on a socket of the cluster's machine, on TCP, or on both."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn

from schemas.errors import Unavailable
from schemas.times import Milliseconds
from services.agent.serving.app import Find, Serving, app_of

BACKLOG = 128
END_SECONDS = 1
"""How long streams that go on have to end with the server."""
LARGEST_MESSAGE = 1 << 20
_log = structlog.get_logger("chronoset.node-server")


@dataclass(frozen=True, slots=True)
class Door:
    """Where a server is reached: a socket's path, or a TCP address with the token that callers must know."""

    path: Path | None = None
    host: str = ""
    port: int = 0
    token: str = ""
    certificate: Path | None = None
    key: Path | None = None


class NodeServer:
    """Serves the pods that `find` finds, until it is closed. Raises Unavailable where its door cannot be opened."""

    def __init__(self, find: Find, clock: Callable[[], Milliseconds], door: Door) -> None:
        self._socket = _listen(door)
        config = uvicorn.Config(
            app_of(Serving(find, clock, door.token)),
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False,
            ws_ping_timeout=None,  # a client whose input nobody reads cannot answer; a dead one cannot be sent to
            log_config=None,
            access_log=False,
            lifespan="off",
            backlog=BACKLOG,
            timeout_graceful_shutdown=END_SECONDS,
            ssl_certfile=door.certificate,
            ssl_keyfile=door.key,
            server_header=False,
        )
        self._path = door.path
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="node-server", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The TCP port; 0 for a socket."""
        return 0 if self._path else int(self._socket.getsockname()[1])

    def close(self) -> None:
        """End the server, and the commands that were run through it."""
        self._server.should_exit = True
        self._thread.join(END_SECONDS + 5)
        if self._path:
            self._path.unlink(missing_ok=True)

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        except Exception:  # noqa: BLE001 - the end of a thread
            _log.exception("the node's server failed")


def _listen(door: Door) -> socket.socket:
    """Return the listening socket of a door; a socket's file that somebody has left is replaced."""
    try:
        if door.path is None:
            return socket.create_server((door.host, door.port), backlog=BACKLOG)
        with contextlib.suppress(FileNotFoundError):
            door.path.unlink()
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(str(door.path))
        door.path.chmod(0o600)
        listener.listen(BACKLOG)
    except OSError as error:
        shown = door.path or f"{door.host}:{door.port}"
        raise Unavailable(f"the node's server cannot listen at {shown}: {error}") from error
    return listener
