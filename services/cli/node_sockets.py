"""A WebSocket for several threads: one of its own reads and writes it, with an event loop.

One of TLS may not be read by one thread while another one writes (OpenSSL: an SSL object is for one thread at a time);
under load that lost answers, and the client waited for ever.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Coroutine, Iterator
from typing import Any, TypeVar

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosedOK

T = TypeVar("T")


class NodeSocket:
    """A WebSocket that `opening` opens; raises what that raises. Any thread may use it until it is closed."""

    def __init__(self, opening: Awaitable[ClientConnection]) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="node-socket", daemon=True)
        self._thread.start()

        async def opened() -> ClientConnection:
            return await opening

        try:
            self._connection = self._result(opened())
        except BaseException:
            self._end()
            raise

    def send(self, data: bytes) -> None:
        """Send a message. Raises ConnectionClosed."""
        self._result(self._connection.send(data))

    def __iter__(self) -> Iterator[str | bytes]:
        """Yield messages until the server closes in good order. Raises ConnectionClosed where it does otherwise."""
        while True:
            try:
                message = self._result(self._connection.recv())
            except ConnectionClosedOK:
                return
            yield message

    def close(self) -> None:
        """Say goodbye, or go without after a moment; who waits for a message is told."""
        self._result(self._connection.close())

    def __enter__(self) -> NodeSocket:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._end()

    def _result(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
