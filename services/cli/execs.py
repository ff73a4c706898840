"""`chronoset exec`: a command inside a container, on the user's own streams, as kubectl's."""

from __future__ import annotations

import json
import os
import select
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from schemas.errors import BadRequest, ChronosetError, Unavailable
from schemas.objects import name_of, namespace_of
from services.agent.serving.channels import CLOSE, ERROR, RESIZE, STDERR, STDIN, STDOUT, exit_code_of
from services.cli.completions import complete_pod
from services.cli.node_clients import client_of
from services.cli.options import DataDir, Namespace
from services.cli.pod_choices import container_chosen, pod_named
from services.cli.session import open_session
from services.cli.streams import aside
from services.cli.terminals import lent, size_of

if TYPE_CHECKING:
    from services.cli.node_sockets import NodeSocket

CHUNK = 1 << 15
_OUTPUTS = {STDOUT: 1, STDERR: 2}


def exec_(
    pod: Annotated[
        str, typer.Argument(metavar="POD", help="Or sts/NAME, ds/NAME.", autocompletion=complete_pod)
    ],
    command: Annotated[list[str], typer.Argument(metavar="-- COMMAND...", help="And its arguments.")],
    container: Annotated[
        str, typer.Option("--container", "-c", metavar="NAME", help="Which one, where there are several.")
    ] = "",
    stdin: Annotated[bool, typer.Option("--stdin", "-i", help="Give it this command's input.")] = False,
    terminal: Annotated[bool, typer.Option("--tty", "-t", help="Give it a terminal.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only what the command prints.")] = False,
    namespace: Namespace = "default",
    data_dir: DataDir = None,
) -> int:
    """Run a command in a pod's container; its exit code is this one's.

    It has the container's directory, variables, user and limits, and ends with this command, with all that it
    started.

    \b
    Example:
      chronoset exec db-0 -- env
      chronoset exec -it db-0 -c db -- sh
      tar cz data | chronoset exec -i db-0 -- tar xz
    """
    if not all(command):
        raise BadRequest("COMMAND: its first word is empty; write -- COMMAND...")
    session = open_session(data_dir)
    obj = pod_named(session, pod, namespace)
    name = container_chosen(obj, container, quiet)
    on_terminal = terminal and stdin and sys.stdin.isatty()
    if terminal and stdin and not on_terminal and not quiet:
        aside("Unable to use a TTY - input is not a terminal or the right kind of file")
    flags = {"stdin": stdin, "stdout": True, "stderr": not on_terminal, "tty": on_terminal}
    query = [("command", word) for word in command]
    query += [(flag, "true") for flag, wanted in flags.items() if wanted]
    path = f"/exec/{namespace_of(obj)}/{name_of(obj)}/{name}"
    with client_of(session, obj).open(path, query) as connection:
        status = Conversation(connection, stdin, on_terminal).run()
    code = exit_code_of(status)
    if code is None:
        raise ChronosetError(str(status.get("message", status)))
    if code and not quiet:
        aside(f"command terminated with exit code {code}")
    return code


class Conversation:
    """Carries this program's streams to a command elsewhere and back, until that has ended."""

    def __init__(self, connection: NodeSocket, has_input: bool, on_terminal: bool) -> None:
        self._connection = connection
        self._has_input = has_input
        self._on_terminal = on_terminal
        self._status: dict[str, Any] | None = None
        self._failure: OSError | None = None

    def run(self) -> dict[str, Any]:
        """Return the Status of the end. Raises Unavailable where the node's server is lost, OSError of our output."""
        done, end = os.pipe2(os.O_CLOEXEC)
        receiver = threading.Thread(target=self._receive, args=(end,), daemon=True)
        try:
            with lent(sys.stdin.fileno() if self._on_terminal else -1, self._on_terminal) as wake:
                receiver.start()
                self._send(done, wake)
        finally:
            if receiver.is_alive():
                self._connection.close()
                receiver.join(2)
            os.close(done)
        if self._failure is not None:
            raise self._failure
        if self._status is None:
            raise Unavailable(
                "the connection to the node's server was lost, and with it how the command ended"
            )
        return self._status

    def _send(self, done: int, wake: int) -> None:
        """Send the input and the terminal's size until the end."""
        from websockets.exceptions import ConnectionClosed

        poll = select.poll()
        poll.register(done, select.POLLIN)
        poll.register(wake, select.POLLIN)
        source = sys.stdin.fileno() if self._has_input else -1
        if self._has_input:
            poll.register(source, select.POLLIN)
        try:
            self._resize()
            while True:
                ready = {descriptor for descriptor, _ in poll.poll()}
                if done in ready:
                    return
                if wake in ready:
                    os.read(wake, 64)
                    self._resize()
                if source in ready and not self._pass_on(source):
                    poll.unregister(source)
        except ConnectionClosed:
            os.read(done, 1)

    def _pass_on(self, source: int) -> bool:
        """Send some input, or its end; return whether there may be more."""
        try:
            data = os.read(source, CHUNK)
        except OSError:
            data = b""
        self._connection.send(bytes([STDIN]) + data if data else bytes([CLOSE, STDIN]))
        return bool(data)

    def _resize(self) -> None:
        if self._on_terminal:
            columns, rows = size_of(sys.stdin.fileno())
            size = json.dumps({"Width": columns, "Height": rows})
            self._connection.send(bytes([RESIZE]) + size.encode())

    def _receive(self, end: int) -> None:
        """Print what comes (in a thread of its own); closing `end` says that it is over."""
        try:
            for channel, data in _messages(self._connection):
                if channel == ERROR:
                    self._status = json.loads(data)
                elif channel in _OUTPUTS:
                    _write(_OUTPUTS[channel], data)
        except OSError as error:
            self._failure = error
        finally:
            os.close(end)


def _messages(connection: NodeSocket) -> Iterator[tuple[int, bytes]]:
    from websockets.exceptions import ConnectionClosed

    try:
        for message in connection:
            if isinstance(message, bytes) and message:
                yield message[0], message[1:]
    except ConnectionClosed:
        return


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]
