"""Commands in a running container, and its own program's streams, over connections that the daemon hands over.

Without a terminal the daemon sends frames: which stream (1 stdout, 2 stderr), three empty bytes, the length in four.
"""

from __future__ import annotations

import os
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from typing import Any

from docker.errors import APIError, DockerException

from services.agent.runtimes.port import Command, Refused
from services.agent.runtimes.processes import descendants_of

CHUNK = 1 << 16
POLL_SECONDS = 0.01
_STREAMS = {1: "stdout", 2: "stderr"}


class Channel:
    """A connection that the daemon has handed over. `stream` is what docker-py returns for `socket=True`.

    Its response's file is read rather than its socket: it may already hold what came right after the headers.
    """

    def __init__(self, stream: Any, tty: bool) -> None:
        self._response = stream._response
        self._file = stream._response.raw._fp.fp
        self._socket: socket.socket = getattr(stream, "_sock", stream)
        self._tty = tty
        self._left = 0
        self._name = "stdout"

    def read(self) -> tuple[str, bytes]:
        """Return (stream, some output), or ("", b"") at the end. See Session.read."""
        with suppress(OSError, ValueError):
            if not self._tty and self._left == 0 and not self._read_header():
                return "", b""
            data: bytes = self._file.read1(CHUNK if self._tty else min(self._left, CHUNK))
            if data:
                self._left = max(0, self._left - len(data))
                return self._name, data
        return "", b""

    def write(self, data: bytes) -> None:
        """See Session.write."""
        self._socket.sendall(data)

    def close_input(self) -> None:
        """See Session.close_input."""
        if not self._tty:
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Let whoever reads return; the file is closed by the reader's last look at it."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._response.close()

    def _read_header(self) -> bool:
        while self._left == 0:
            header = self._file.read(8)
            if len(header) < 8:
                return False
            kind, self._left = struct.unpack(">BxxxI", header)
            self._name = _STREAMS.get(kind, "stdout")
        return True


class _OverChannel:
    """What sessions of both kinds have in common: their streams."""

    _channel: Channel

    def read(self) -> tuple[str, bytes]:
        return self._channel.read()

    def write(self, data: bytes) -> None:
        self._channel.write(data)

    def close_input(self) -> None:
        self._channel.close_input()


class ExecSession(_OverChannel):
    """A command in a container. See Session. Raises Refused(StartError) where it cannot be executed.

    Its processes are killed by their pids, which needs a daemon of this machine and the right to: the API has no call.
    """

    def __init__(self, client: Any, container: str, command: Command) -> None:
        self._client = client
        self._tty = command.tty
        try:
            self._id = client.exec_create(
                container, list(command.words), stdin=command.stdin, tty=command.tty
            )["Id"]
            self._channel = Channel(client.exec_start(self._id, tty=command.tty, socket=True), command.tty)
        except APIError as error:
            reason = "NotRunning" if error.status_code in (404, 409) else "StartError"
            raise Refused(reason, str(error.explanation)) from None
        self._pid = self._wait_until_begun()

    def resize(self, columns: int, rows: int) -> None:
        if self._tty:
            with suppress(APIError):
                self._client.exec_resize(self._id, height=rows, width=columns)

    def wait(self) -> int:
        while True:
            found = self._client.exec_inspect(self._id)
            if not found["Running"]:
                return int(found["ExitCode"] or 0)
            time.sleep(POLL_SECONDS)

    def close(self) -> None:
        with suppress(DockerException, OSError):
            if self._client.exec_inspect(self._id)["Running"]:
                for pid in (self._pid, *descendants_of(self._pid)):
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
        self._channel.close()

    def _wait_until_begun(self) -> int:
        """Return the command's pid; 0 where it has ended already. Raises Refused where it could not begin."""
        while True:
            found = self._client.exec_inspect(self._id)
            if found["Pid"]:
                return int(found["Pid"])
            if not found["Running"] and found["ExitCode"] is not None:
                said = self._everything()
                self._channel.close()
                raise Refused(
                    "StartError", said.decode(errors="replace").strip() or "the command cannot be executed"
                )
            time.sleep(POLL_SECONDS)

    def _everything(self) -> bytes:
        parts = []
        while (part := self.read()) != ("", b""):
            parts.append(part[1])
        return b"".join(parts)


class AttachSession(_OverChannel):
    """What a container's program prints from now on, and its input. See Session; `close` leaves the program alone."""

    def __init__(self, client: Any, container: str, tty: bool, stdin: bool) -> None:
        self._client = client
        self._container = container
        self._tty = tty
        params = {"stdin": int(stdin), "stdout": 1, "stderr": 1, "stream": 1, "logs": 0}
        try:
            self._channel = Channel(client.attach_socket(container, params), tty)
        except APIError as error:
            raise Refused("NotRunning", str(error.explanation)) from None
        self._over = threading.Event()

    def read(self) -> tuple[str, bytes]:
        part = super().read()
        if part == ("", b""):
            self._over.set()
        return part

    def resize(self, columns: int, rows: int) -> None:
        if self._tty:
            with suppress(APIError):
                self._client.resize(self._container, height=rows, width=columns)

    def wait(self) -> int:
        self._over.wait()
        return 0

    def close(self) -> None:
        self._over.set()
        self._channel.close()
