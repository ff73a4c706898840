"""The node's server on the network: it begins once the cluster has signed its certificate, and keeps that fresh."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable

import structlog

from schemas.times import Milliseconds
from services.agent.serving.app import Find
from services.agent.serving.certificates import ServingCertificate
from services.agent.serving.server import NodeServer

INSPECTION = 3600.0
"""Seconds between two looks at whether the certificate is to be renewed."""
FIRST_PAUSE, LONGEST_PAUSE = 0.25, 60.0
PATIENCE = 3
"""As often may the cluster refuse before that is said: it signs nothing for a node that has not registered yet."""
_log = structlog.get_logger("chronoset.node-server")


class NetworkedServer:
    """Serves what `find` finds to the API alone, from when there is a certificate until it is closed."""

    def __init__(
        self,
        find: Find,
        clock: Callable[[], Milliseconds],
        listening: socket.socket,
        certificate: ServingCertificate,
    ) -> None:
        self._find = find
        self._clock = clock
        self._listening = listening
        self._certificate = certificate
        self._server: NodeServer | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="node-certificate", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the server, and the commands that were run through it."""
        self._stopping.set()
        self._thread.join(5)
        if self._server is not None:
            self._server.close()
        self._listening.close()

    def _run(self) -> None:
        refusals, pause = 0, FIRST_PAUSE
        while True:
            refused = self._refresh()
            if self._server is None and self._certificate.tls is not None:
                self._server = NodeServer(self._find, self._clock, self._listening, self._certificate.tls)
            refusals, pause = (refusals + 1, pause * 2) if refused else (0, FIRST_PAUSE)
            if refusals == PATIENCE:
                _log.warning("the cluster signs no certificate for the node's server", error=refused)
            if self._stopping.wait(min(pause, LONGEST_PAUSE) if refused else INSPECTION):
                return

    def _refresh(self) -> str:
        """Renew the certificate, if it is time; return why that could not be done."""
        try:
            self._certificate.refresh(self._clock())
        except Exception as error:  # noqa: BLE001 - whatever it is, it is tried again
            return str(error) or type(error).__name__
        return ""
