"""One connection, used directly: redis-py's client and connection add some 130 us to each command, more than an append.

redis-py makes the connection (address, TLS, password, name, timeouts); commands then go over its socket as they are.
"""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import hiredis
import redis

Part = str | bytes | int | float
_READ_SIZE = 65_536
_pack: Callable[[tuple[Part, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub takes one part


class Script(NamedTuple):
    """A Lua script and the SHA-1 of its text, under which the server knows it."""

    text: str
    sha: str


def script_of(text: str) -> Script:
    """Return a script of this text."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


class Line:
    """A connection of a client's pool, kept for one user. Threads may share it; each waits for the others' answers.

    It connects when it is first used, and tries again as often as its client is set up to. Answers are as the server
    gives them: bytes, integers, None, lists.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._ask: Callable[[tuple[Part, ...]], Any] | None = None
        self._lock = threading.Lock()

    def call(self, *command: Part) -> Any:
        """Send a command and return the answer. Raises what redis-py raises; the connection is then made anew."""
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            try:
                return self._connection.retry.call_with_retry(
                    lambda: (self._ask or self._connected())(command), lambda _: self._hang_up()
                )
            except redis.exceptions.ResponseError:
                raise
            except BaseException:
                self._hang_up()
                raise

    def run(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> Any:
        """Run a script, which the server is taught when it does not know it. Raises as `call`."""
        try:
            return self.call("EVALSHA", script.sha, len(keys), *keys, *args)
        except redis.exceptions.NoScriptError:
            return self.call("EVAL", script.text, len(keys), *keys, *args)

    def interrupt(self) -> None:
        """Break off a call that waits for its answer in another thread: it raises ConnectionError."""
        handle = getattr(self._connection, "_sock", None)
        if isinstance(handle, socket.socket):
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Give the connection back."""
        with self._lock:
            if self._connection is not None:
                self._pool.release(self._connection)
                self._connection = self._ask = None

    def _connected(self) -> Callable[[tuple[Part, ...]], Any]:
        """Connect if need be, and return how to ask: over the socket, or through a connection that has none (fakes)."""
        connection = self._connection
        connection.connect()
        handle = getattr(connection, "_sock", None)
        if isinstance(handle, socket.socket):
            self._ask = _over(handle, connection._parser.parse_error)
        else:
            self._ask = _through(connection)
        return self._ask

    def _hang_up(self) -> None:
        self._ask = None
        self._connection.disconnect()


def _over(handle: socket.socket, error_of: Callable[[str], Exception]) -> Callable[[tuple[Part, ...]], Any]:
    """Return how to ask over a socket; `error_of` makes redis-py's exception of what the server says."""
    reader = hiredis.Reader(protocolError=redis.InvalidResponse, replyError=error_of, notEnoughData=...)

    def ask(command: tuple[Part, ...]) -> Any:
        try:
            handle.sendall(_pack(command))
            while (answer := reader.gets()) is ...:
                received = handle.recv(_READ_SIZE)
                if not received:
                    raise redis.ConnectionError("connection closed by server")
                reader.feed(received)
        except TimeoutError as error:
            raise redis.TimeoutError(f"no answer to {command[0]!r} in time") from error
        except OSError as error:
            raise redis.ConnectionError(f"{command[0]!r}: {error}") from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    return ask


def _through(connection: Any) -> Callable[[tuple[Part, ...]], Any]:
    def ask(command: tuple[Part, ...]) -> Any:
        connection.send_command(*command)
        return connection.read_response()

    return ask
