"""The agent's end of the zygote: starts it, asks it, starts it anew when it is lost."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from schemas.errors import Unavailable

Json = dict[str, Any]

_ROOT = str(Path(__file__).parents[3])
_PROGRAM = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from services.agent.runtimes.zygote import main; main(int(sys.argv[2]))"
)
"""Isolated and without site-packages: 13 MB and 20 ms instead of what the agent has imported."""
ANSWER_TIMEOUT = 30.0


class Zygote:
    """One zygote process; several agents of one process may share it. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None

    @property
    def pid(self) -> int:
        """The zygote's process id; 0 while there is none."""
        return self._process.pid if self._process else 0

    def ask(self, request: Json, timeout: float = ANSWER_TIMEOUT) -> Json:
        """Return the answer to a request. A lost zygote is started anew. Raises Unavailable."""
        for _ in range(2):
            if answer := self._ask_once(request, timeout):
                return answer
        raise Unavailable(f"the zygote does not answer to {request['do']}")

    def begin(self, request: Json, streams: list[int]) -> socket.socket:
        """Send a request with the streams of a command; return where lines of JSON come. Raises Unavailable.

        Closing it ends the command.
        """
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._send(theirs, streams)
            ours.settimeout(ANSWER_TIMEOUT)
            ours.sendall(json.dumps(request).encode())
            ours.shutdown(socket.SHUT_WR)
        except OSError as error:
            ours.close()
            raise Unavailable(f"the zygote does not answer to {request['do']}: {error}") from None
        return ours

    def close(self) -> None:
        """End the zygote; what it has started stays."""
        with self._lock:
            self._end()

    def _ask_once(self, request: Json, timeout: float) -> Json:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                self._send(theirs)
            ours.settimeout(timeout)
            try:
                ours.sendall(json.dumps(request).encode())
                ours.shutdown(socket.SHUT_WR)
                data = bytearray()
                while chunk := ours.recv(65536):
                    data += chunk
            except (BrokenPipeError, ConnectionResetError):
                return {}
            except TimeoutError:
                raise Unavailable(f"no answer to {request['do']} within {timeout:g} s") from None
        answer: Json = json.loads(data) if data else {}
        return answer

    def _send(self, connection: socket.socket, streams: Sequence[int] = ()) -> None:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._begin()
            for _ in range(2):
                try:
                    assert self._control is not None
                    socket.send_fds(self._control, [b"r"], [connection.fileno(), *streams])
                    return
                except (BrokenPipeError, ConnectionResetError, ConnectionRefusedError):
                    self._begin()

    def _begin(self) -> None:
        self._end()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _PROGRAM, _ROOT, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                env={},
            )
        self._control = ours

    def _end(self) -> None:
        if self._control is not None:
            self._control.close()
        if self._process is not None:
            self._process.wait()
        self._process = self._control = None
