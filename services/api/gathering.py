"""What is written in one turn of the event loop goes out by one call of the system.

An answer's head and body are two writes, and a call costs more than all that Chronoset does for a get.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Sending(Protocol):
    """What is used of asyncio.Transport."""

    def writelines(self, list_of_data: list[bytes]) -> None: ...

    def is_closing(self) -> bool: ...

    def close(self) -> None: ...


class Gathering:
    """Passes what is written on to a transport at the end of the turn (`call_soon`), or when that is to be closed."""

    __slots__ = ("_call_soon", "_transport", "_written")

    def __init__(self, transport: Sending, call_soon: Callable[[Callable[[], None]], object]) -> None:
        self._transport = transport
        self._call_soon = call_soon
        self._written: list[bytes] = []

    def write(self, data: bytes) -> None:
        if not self._written:
            self._call_soon(self._pass_on)
        self._written.append(data)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def close(self) -> None:
        self._pass_on()
        self._transport.close()

    def _pass_on(self) -> None:
        written, self._written = self._written, []
        if written:
            self._transport.writelines(written)
