"""Connections that know whom TLS has verified at their other end, and send an answer's head and body together."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.api.gathering import Gathering

CERTIFICATE = "certificate"
"""Where a connection's state has the client's certificate, in DER; empty where it showed none."""


class Connection(HttpToolsProtocol):
    """HTTP, whose requests (and the WebSockets that it becomes) carry the client's certificate in their state."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._whole = transport
        self.transport = Gathering(transport, self.loop.call_soon)  # type: ignore[assignment]  # all that is used of it
        tls = transport.get_extra_info("ssl_object")
        found = tls.getpeercert(binary_form=True) if tls is not None else None
        self.app_state = {**self.app_state, CERTIFICATE: found or b""}

    def handle_websocket_upgrade(self) -> None:
        self.transport = self._whole
        super().handle_websocket_upgrade()
