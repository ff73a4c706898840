"""The agent's end of a command inside a process container, and of an attachment to the container's own program.

Reading, writing and waiting block, each in a thread of its caller's; `close` from any other makes them return.
"""

from __future__ import annotations

import errno
import json
import os
import select
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.agent.runtimes.attachments import (
    CLOSE,
    RESIZE,
    SIZE,
    SOCKET,
    STDERR,
    STDIN,
    STDOUT,
    Frames,
    frame,
    set_size,
)
from services.agent.runtimes.port import Command, Refused
from services.agent.runtimes.zygotes import Zygote

Json = dict[str, Any]

CHUNK = 1 << 16
_NAMES = {STDOUT: "stdout", STDERR: "stderr"}


class Waker:
    """Lets threads wait for descriptors until somebody calls `close`; then those are closed, when none waits."""

    def __init__(self) -> None:
        self._over = os.eventfd(0, os.EFD_CLOEXEC)
        self._lock = threading.Condition()
        self._users = 0
        self._is_closed = False

    @contextmanager
    def using(self) -> Iterator[bool]:
        """Keep descriptors open meanwhile; False where they are closed already."""
        with self._lock:
            is_open = not self._is_closed
            self._users += is_open
        try:
            yield is_open
        finally:
            with self._lock:
                self._users -= is_open
                self._lock.notify_all()

    def wait_for(self, interest: Mapping[int, int]) -> list[int]:
        """Return which descriptors are ready for what they are waited for; none: it is over."""
        poll = select.poll()
        poll.register(self._over, select.POLLIN)
        for descriptor, events in interest.items():
            poll.register(descriptor, events)
        ready = [descriptor for descriptor, _ in poll.poll()]
        return [] if self._over in ready else ready

    def close(self) -> bool:
        """Make everyone return, and wait until they have; False where that has been done before."""
        with self._lock:
            if self._is_closed:
                return False
            self._is_closed = True
            os.eventfd_write(self._over, 1)
            self._lock.wait_for(lambda: not self._users)
        os.close(self._over)
        return True


@dataclass(slots=True)
class Ends:
    """Our ends of a command's streams: outputs by descriptor, where its input goes (-1: nowhere), its terminal."""

    outputs: dict[int, str]
    input: int = -1
    terminal: int = -1


class CommandSession:
    """A command inside a container (services.agent.runtimes.port.Session). `connection` is the one to its keeper."""

    def __init__(self, connection: socket.socket, ends: Ends) -> None:
        self._connection = connection
        self._ends = ends
        self._waker = Waker()
        self._answer = b""
        if ends.input >= 0:
            os.set_blocking(ends.input, False)

    def first_answer(self) -> Json:
        """Return whether the command runs: {"pid"}, or else {"error"}, or nothing."""
        answer: Json = json.loads(self._line() or "{}")
        return answer

    def read(self) -> tuple[str, bytes]:
        """See Session.read."""
        outputs = self._ends.outputs
        while outputs:
            with self._waker.using() as is_open:
                ready = self._waker.wait_for(dict.fromkeys(outputs, select.POLLIN)) if is_open else []
                for descriptor in ready:
                    if data := _read(descriptor):
                        return outputs[descriptor], data
                    self._forget(descriptor)
            if not ready:
                break
        return "", b""

    def write(self, data: bytes) -> None:
        """See Session.write."""
        view = memoryview(data)
        while view:
            with self._waker.using() as is_open:
                target = self._ends.input
                if not is_open or target < 0 or not self._waker.wait_for({target: select.POLLOUT}):
                    raise OSError(errno.EPIPE, "the command takes no more input")
                with suppress(BlockingIOError):
                    view = view[os.write(target, view) :]

    def close_input(self) -> None:
        """See Session.close_input."""
        with self._waker.using() as is_open:
            if is_open and self._ends.terminal < 0 <= self._ends.input:
                os.close(self._ends.input)
                self._ends.input = -1

    def resize(self, columns: int, rows: int) -> None:
        """See Session.resize."""
        with self._waker.using() as is_open:
            if is_open and self._ends.terminal >= 0:
                set_size(self._ends.terminal, columns, rows)

    def wait(self) -> int:
        """See Session.wait. A command whose keeper was killed counts as killed."""
        line = self._line()
        return int(json.loads(line)["code"]) if line else 137

    def close(self) -> None:
        """See Session.close."""
        if not self._waker.close():
            return
        self._connection.close()
        for descriptor in {*self._ends.outputs, self._ends.input, self._ends.terminal} - {-1}:
            os.close(descriptor)

    def _line(self) -> bytes:
        """Return the next line of the keeper's answer; nothing where there is none to come."""
        while b"\n" not in self._answer:
            with self._waker.using() as is_open:
                ready = is_open and self._waker.wait_for({self._connection.fileno(): select.POLLIN})
                data = _received(self._connection) if ready else b""
            if not data:
                return b""
            self._answer += data
        line, _, self._answer = self._answer.partition(b"\n")
        return line

    def _forget(self, descriptor: int) -> None:
        del self._ends.outputs[descriptor]
        if descriptor != self._ends.terminal:
            os.close(descriptor)


def begin_command(zygote: Zygote, request: Mapping[str, Any], command: Command) -> CommandSession:
    """Return when a command runs. Raises Refused where it cannot be executed, or its container has ended."""
    theirs, ends = _terminal() if command.tty else _pipes(command.stdin)
    try:
        connection = zygote.begin(dict(request), theirs)
    finally:
        for descriptor in set(theirs):
            os.close(descriptor)
    session = CommandSession(connection, ends)
    answer = session.first_answer()
    if "pid" in answer:
        return session
    session.close()
    if error := answer.get("error"):
        raise Refused("StartError", str(error))
    raise Refused("NotRunning", f"container not found ({json.dumps(command.container)})")


def _terminal() -> tuple[list[int], Ends]:
    master, terminal = os.openpty()
    return [terminal] * 3, Ends({master: "stdout"}, master, master)


def _pipes(has_input: bool) -> tuple[list[int], Ends]:
    (out, their_out), (err, their_err) = os.pipe(), os.pipe()
    if has_input:
        their_in, ours = os.pipe()
    else:
        their_in, ours = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), -1
    return [their_in, their_out, their_err], Ends({out: "stdout", err: "stderr"}, ours)


class Attachment:
    """What a container's own program prints, and a way to its input (services.agent.runtimes.port.Session)."""

    def __init__(self, folder: Path, stdin: bool) -> None:
        """Attach to the run whose records are in `folder`. Raises OSError where its shim lets nobody in."""
        self._connection = socket.socket(socket.AF_UNIX)
        handle = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._connection.connect(f"/proc/self/fd/{handle}/{SOCKET}")
        except OSError:
            self._connection.close()
            raise
        finally:
            os.close(handle)
        self._waker = Waker()
        self._frames = Frames()
        self._ready: list[tuple[int, bytes]] = []
        self._is_over = threading.Event()
        self._types = stdin
        if stdin:
            self._connection.sendall(frame(STDIN, b""))

    def read(self) -> tuple[str, bytes]:
        """See Session.read."""
        while not self._ready:
            with self._waker.using() as is_open:
                ready = is_open and self._waker.wait_for({self._connection.fileno(): select.POLLIN})
                data = _received(self._connection) if ready else b""
            if not data:
                self._is_over.set()
                return "", b""
            self._ready = self._frames.add(data)
        kind, content = self._ready.pop(0)
        return _NAMES[kind], content

    def write(self, data: bytes) -> None:
        """See Session.write."""
        if self._types and data:
            self._send(frame(STDIN, data))

    def close_input(self) -> None:
        """See Session.close_input."""
        if self._types:
            self._send(frame(CLOSE, b""))

    def resize(self, columns: int, rows: int) -> None:
        """See Session.resize."""
        if self._types:
            self._send(frame(RESIZE, SIZE.pack(columns & 0xFFFF, rows & 0xFFFF)))

    def wait(self) -> int:
        """See Session.wait: 0, since how the program ended is told by the pod's status."""
        self._is_over.wait()
        return 0

    def close(self) -> None:
        """See Session.close."""
        if self._waker.close():
            self._connection.close()
            self._is_over.set()

    def _send(self, message: bytes) -> None:
        view = memoryview(message)
        while view:
            with self._waker.using() as is_open:
                if not is_open or not self._waker.wait_for({self._connection.fileno(): select.POLLOUT}):
                    raise OSError(errno.EPIPE, "the session is over")
                with suppress(BlockingIOError):
                    view = view[self._connection.send(view, socket.MSG_DONTWAIT) :]


def _read(descriptor: int) -> bytes:
    """Return what there is; nothing at the end. A terminal that nobody has open any more is at its end (EIO)."""
    try:
        return os.read(descriptor, CHUNK)
    except OSError:
        return b""


def _received(connection: socket.socket) -> bytes:
    try:
        return connection.recv(CHUNK)
    except OSError:
        return b""
