"""Who is attached to a container's program: they see what it prints from now on, and may type.

A shim listens on the socket `attach` in the folder of its run. What goes over it are frames: one byte that says what,
four that say how long, and as much data. The numbers are those of Kubernetes' channels.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import struct
import termios
from contextlib import suppress
from dataclasses import dataclass

STDIN, STDOUT, STDERR, RESIZE, CLOSE = 0, 1, 2, 4, 255
SOCKET = "attach"
HEADER, SIZE = struct.Struct(">BI"), struct.Struct(">HH")
_STREAMS = {"stdout": STDOUT, "stderr": STDERR}
_BUFFER = 1 << 20
"""How many bytes one who is attached may be behind. A program is never held up: who reads too slowly is cut off."""


class Frames:
    """Takes frames apart that come in pieces."""

    def __init__(self) -> None:
        self._data = bytearray()

    def add(self, data: bytes) -> list[tuple[int, bytes]]:
        """Return the (kind, content) of the frames that are whole now."""
        self._data += data
        found: list[tuple[int, bytes]] = []
        while len(self._data) >= HEADER.size:
            kind, length = HEADER.unpack_from(self._data)
            if len(self._data) < HEADER.size + length:
                break
            found.append((kind, bytes(self._data[HEADER.size : HEADER.size + length])))
            del self._data[: HEADER.size + length]
        return found


def frame(kind: int, data: bytes) -> bytes:
    """Return a frame."""
    return HEADER.pack(kind, len(data)) + data


def set_size(terminal: int, columns: int, rows: int) -> None:
    """Set the size of a terminal; whoever runs in it gets SIGWINCH."""
    with suppress(OSError):
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows & 0xFFFF, columns & 0xFFFF, 0, 0))


class Input:
    """The input of a program, written as far as the program reads it. `is_terminal`: it has no end of file."""

    def __init__(self, poll: select.poll, descriptor: int, is_terminal: bool) -> None:
        self.descriptor = descriptor
        self.is_terminal = is_terminal
        self._poll = poll
        self._pending = bytearray()
        self._is_ending = False
        os.set_blocking(descriptor, False)

    @property
    def is_behind(self) -> bool:
        """Whether the program has not read yet what was typed."""
        return bool(self._pending)

    def add(self, data: bytes) -> None:
        """Give the program something to read."""
        if self.descriptor >= 0:
            self._pending += data
            self.feed()

    def end(self) -> None:
        """Let the program read end of file after what was typed."""
        self._is_ending = not self.is_terminal
        self.feed()

    def feed(self) -> None:
        """Write what can be written; the poll tells when there is room for the rest."""
        if self.descriptor < 0:
            return
        try:
            while self._pending:
                del self._pending[: os.write(self.descriptor, self._pending)]
        except BlockingIOError:
            self._poll.register(self.descriptor, select.POLLOUT)
            return
        except OSError:
            self._pending.clear()
            self._is_ending = True
        with suppress(KeyError):
            self._poll.unregister(self.descriptor)
        if self._is_ending:
            os.close(self.descriptor)
            self.descriptor = -1


@dataclass(slots=True)
class _Client:
    connection: socket.socket
    frames: Frames
    types: bool = False


class Attachments:
    """Those attached to one program, within its shim's poll loop. `typed` is where the program's input goes, or None.

    `once` ends the input when the first who typed goes (stdinOnce).
    """

    def __init__(self, folder: str, poll: select.poll, typed: Input | None, once: bool) -> None:
        self._poll = poll
        self._typed = typed
        self._once = once
        self._clients: dict[int, _Client] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        before = os.umask(0o177)
        self._listener.bind(f"/proc/self/fd/{handle}/{SOCKET}")
        os.umask(before)
        os.close(handle)
        self._listener.listen(8)
        self._listener.setblocking(False)
        poll.register(self._listener, select.POLLIN)

    def handles(self, descriptor: int) -> bool:
        """Do what a descriptor calls for, and say whether it was one of those here."""
        if descriptor == self._listener.fileno():
            self._accept()
        elif descriptor in self._clients:
            self._receive(descriptor)
        elif self._typed and descriptor == self._typed.descriptor:
            self._typed.feed()
        else:
            return False
        for each in self._clients:
            self._poll.register(each, 0 if self._typed and self._typed.is_behind else select.POLLIN)
        return True

    def spread(self, stream: str, data: bytes) -> None:
        """Show everyone what the program has printed."""
        if not self._clients:
            return
        message = frame(_STREAMS[stream], data)
        for descriptor, client in list(self._clients.items()):
            try:
                is_all = client.connection.send(message) == len(message)
            except OSError:
                is_all = False
            if not is_all:
                self._drop(descriptor)

    def close(self) -> None:
        """Let nobody in any more."""
        self._poll.unregister(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            connection, _ = self._listener.accept()
            connection.setblocking(False)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
            self._clients[connection.fileno()] = _Client(connection, Frames())

    def _receive(self, descriptor: int) -> None:
        client = self._clients[descriptor]
        try:
            data = client.connection.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop(descriptor)
            return
        for kind, content in client.frames.add(data):
            client.types = True
            if self._typed:
                self._take(self._typed, kind, content)

    def _take(self, typed: Input, kind: int, content: bytes) -> None:
        if kind == STDIN:
            typed.add(content)
        elif kind == RESIZE and typed.is_terminal:
            set_size(typed.descriptor, *SIZE.unpack(content))
        elif kind == CLOSE and self._once:
            typed.end()

    def _drop(self, descriptor: int) -> None:
        client = self._clients.pop(descriptor)
        self._poll.unregister(descriptor)
        client.connection.close()
        if client.types and self._once and self._typed:
            self._typed.end()
