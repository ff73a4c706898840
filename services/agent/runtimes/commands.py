"""What a child of the zygote does for a command that a person runs inside a container (`exec`).

The command has the streams that came with the request. It ends when its client goes (the other end of `connection` is
closed), and with the container's own program; nothing that it has started stays. Two lines of JSON are answered:
{"pid"} or {"error"} when it has begun or could not, {"code"} when it has ended.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import socket
import termios
from typing import Any

from services.agent.runtimes.processes import become_parent, die_with_parent, kill_all, start_of
from services.agent.runtimes.shims import execute, exit_code_of

Json = dict[str, Any]


def run_session(request: Json, connection: socket.socket, streams: list[int]) -> None:
    """Run `request["command"]` with `streams` (stdin, stdout, stderr; the same terminal three times with `tty`)."""
    become_parent()
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    container = _open_container(request)
    if container is None:
        _answer(connection, {"gone": True})
        return
    report = os.pipe()
    main = os.fork()
    if main == 0:
        die_with_parent()
        os.setsid()
        if request["tty"]:
            fcntl.ioctl(streams[0], termios.TIOCSCTTY, 0)
        execute(request, (streams[0], streams[1], streams[2]), report[1])
    for descriptor in (*set(streams), report[1]):
        os.close(descriptor)
    error = os.read(report[0], 4096).decode(errors="replace")
    if error:
        os.waitpid(main, 0)
        _answer(connection, {"error": error})
        return
    _answer(connection, {"pid": main})
    _wait_for_end(connection, main, container)
    _answer(connection, {"code": exit_code_of(kill_all().get(main, signal.SIGKILL))})


def _open_container(request: Json) -> int | None:
    """Return a descriptor of the container's program; None where it has ended."""
    try:
        handle = os.pidfd_open(request["join"])
    except ProcessLookupError:
        return None
    return handle if start_of(request["join"]) == request["join_start"] else None


def _wait_for_end(connection: socket.socket, main: int, container: int) -> None:
    """Return when the command has ended, its client has gone, or the container's program has ended."""
    poll = select.poll()
    poll.register(connection, 0)
    poll.register(os.pidfd_open(main), select.POLLIN)
    poll.register(container, select.POLLIN)
    poll.poll()


def _answer(connection: socket.socket, answer: Json) -> None:
    try:
        connection.sendall(json.dumps(answer).encode() + b"\n")
    except OSError:
        return
