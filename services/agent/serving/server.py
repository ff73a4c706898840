"""The node's server in a thread of its own, on a socket that only its user reaches, or over TLS that knows the API."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import structlog
import uvicorn

from schemas.times import Milliseconds
from services.agent.serving.app import Find, Serving, app_of
from services.agent.serving.doors import BACKLOG

END_SECONDS = 1
"""How long streams that go on have to end with the server."""
LARGEST_MESSAGE = 1 << 20
_log = structlog.get_logger("chronoset.node-server")


class NodeServer:
    """Serves the pods that `find` finds on a listening socket, until it is closed.

    Whoever can connect may ask: with `tls`, those who show a certificate that it believes.
    """

    def __init__(
        self,
        find: Find,
        clock: Callable[[], Milliseconds],
        listening: socket.socket,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._socket = listening
        self._path = Path(listening.getsockname()) if listening.family == socket.AF_UNIX else None
        config = uvicorn.Config(
            app_of(Serving(find, clock)),
            ws="websockets-sansio",
            ws_max_size=LARGEST_MESSAGE,
            ws_per_message_deflate=False,
            ws_ping_timeout=None,  # a client whose input nobody reads cannot answer; a dead one cannot be sent to
            log_config=None,
            access_log=False,
            lifespan="off",
            backlog=BACKLOG,
            timeout_graceful_shutdown=END_SECONDS,
            ssl_context_factory=(lambda _config, _default: tls) if tls is not None else None,
            server_header=False,
        )
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, name="node-server", daemon=True)
        self._thread.start()

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
