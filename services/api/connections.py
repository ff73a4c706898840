"""Connections that know whom TLS has verified at their other end, and send an answer's head and body together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import lru_cache

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.gathering import Gathering

MOST_KNOWN = 4096
"""Certificates that are kept once for all connections."""
PEER = "peer"
"""Where a connection's state has its Peer."""


class Peer:
    """The other end of a connection: whom TLS has verified there (DER; empty: nobody), and whether it has gone."""

    __slots__ = ("_leave", "certificate", "is_gone")

    def __init__(self, certificate: bytes = b"") -> None:
        self.certificate = certificate
        self.is_gone = False
        self._leave: Callable[[], None] | None = None

    def on_leaving(self, leave: Callable[[], None] | None) -> None:
        """Have a function called once the peer is gone, at once where it is; None: nothing any more."""
        self._leave = leave
        if leave is not None and self.is_gone:
            leave()

    def leave(self) -> None:
        self.is_gone = True
        if self._leave is not None:
            self._leave()


@lru_cache(MOST_KNOWN)
def _same(certificate: bytes) -> bytes:
    """Return one object for all certificates that are equal: thousands of connections may show the same."""
    return certificate


class Connection(HttpToolsProtocol):
    """HTTP, whose requests (and the WebSockets that it becomes) carry in their state who is at the other end."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._whole = transport
        self.transport = Gathering(transport, self.loop.call_soon)  # type: ignore[assignment]  # all that is used of it
        tls = transport.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True) if tls is not None else None
        self._peer = Peer(_same(found or b""))
        self.app_state = {**self.app_state, PEER: self._peer}

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._peer.leave()

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._whole
        super().handle_websocket_upgrade()
