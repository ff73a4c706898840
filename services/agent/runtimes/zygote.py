"""The process that starts containers; it imports little, has no threads and forks for every request.

Why: a container's program needs a parent that outlives the agent (else its exit code is lost when the agent is
restarted), is small, and may be forked safely. So the agent starts one zygote; for each request the zygote forks a
child that serves it (see `shims`).

A request is one end of a socket pair, sent over the control socket; JSON to its end of file goes in, JSON comes out.
With it come the streams of a command that a person runs.
When the control socket closes, the zygote ends; shims stay.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from contextlib import suppress
from typing import Any

from services.agent.runtimes.commands import run_session
from services.agent.runtimes.processes import take_name
from services.agent.runtimes.shims import find_abilities, run_command, run_container

Json = dict[str, Any]

MOST_HANDLES = 4
"""The connection, and stdin, stdout and stderr."""


def _serve_request(connection: socket.socket, streams: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data = bytearray()
    while chunk := connection.recv(65536):
        data += chunk
    request: Json = json.loads(data)
    try:
        if request["do"] == "session":
            run_session(request, connection, streams)
            return
        {"start": run_container, "execute": run_command, "abilities": find_abilities}[request["do"]](
            request, connection
        )
    except Exception as error:
        with suppress(OSError):
            connection.sendall(json.dumps({"failed": repr(error)}).encode())
        raise


def main(control_descriptor: int) -> None:
    """Serve the control socket of this descriptor until it closes."""
    control = socket.socket(fileno=control_descriptor)
    os.setsid()
    os.chdir("/")
    take_name(b"chrono-zygote")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        message, handles, _, _ = socket.recv_fds(control, 1, MOST_HANDLES)
        if not message:
            return
        for handle in handles:
            os.set_inheritable(handle, False)
        if os.fork() == 0:
            try:
                control.close()
                _serve_request(socket.socket(fileno=handles[0]), handles[1:])
            finally:
                os._exit(0)
        for handle in handles:
            os.close(handle)
