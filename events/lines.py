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
pack: Callable[[tuple[Part, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]  # its stub takes one part


class Script(NamedTuple):
    """A Lua script and the SHA-1 of its text, under which the server knows it."""

    text: str
    sha: str

    def called(self, keys: Sequence[Part], args: Sequence[Part]) -> tuple[Part, ...]:
        """Return the command that runs it on a server that knows it."""
        return "EVALSHA", self.sha, len(keys), *keys, *args


def script_of(text: str) -> Script:
    """Return a script of this text."""
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def reader_of(error_of: Callable[[str], Exception]) -> hiredis.Reader:
    """Return what makes answers of bytes, `...` while one is not whole; `error_of` makes exceptions of errors."""
    return hiredis.Reader(protocolError=redis.InvalidResponse, replyError=error_of, notEnoughData=...)


class Wire(NamedTuple):
    """How to send commands over a connection, and how to wait for the next answer."""

    send: Callable[..., None]
    receive: Callable[[], Any]


class Line:
    """A connection of a client's pool, kept for one user. Threads may share it; each waits for the others' answers.

    It connects when it is first used, and tries again as often as its client is set up to. Answers are as the server
    gives them: bytes, integers, None, lists.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connection: Any = None
        self._wire: Wire | None = None
        self._lock = threading.Lock()

    def call(self, *command: Part) -> Any:
        """Send a command and return the answer. Raises what redis-py raises; the connection is then made anew."""
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            try:
                return self._connection.retry.call_with_retry(
                    lambda: _asked(self._wire or self._connected(), command), lambda _: self._hang_up()
                )
            except redis.exceptions.ResponseError:
                raise
            except BaseException:
                self._hang_up()
                raise

    def call_all(self, commands: Sequence[tuple[Part, ...]]) -> list[Any]:
        """Send commands together; return the answers, in their places those that are errors of the server.

        Raises what redis-py raises where the connection fails: nothing is sent again, and some may have been done.
        """
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            try:
                wire = self._wire or self._connected()
                wire.send(*commands)
                return [_answered(wire) for _ in commands]
            except BaseException:
                self._hang_up()
                raise

    def run(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> Any:
        """Run a script, which the server is taught when it does not know it. Raises as `call`."""
        try:
            return self.call(*script.called(keys, args))
        except redis.exceptions.NoScriptError:
            return self.call("EVAL", script.text, len(keys), *keys, *args)

    def begin(self, script: Script, keys: Sequence[Part], args: Sequence[Part]) -> Callable[[], Any]:
        """Send a script; return what waits for its answer, to be called once: until then nobody else has the line.

        What then fails is sent again, as by `run`.
        """
        self._lock.acquire()
        wire = self._wire
        if wire is not None:
            try:
                wire.send(script.called(keys, args))
            except redis.RedisError:
                self._hang_up()
                wire = None
        if wire is None:
            self._lock.release()
            return lambda: self.run(script, keys, args)

        def answer() -> Any:
            try:
                return wire.receive()
            except redis.exceptions.NoScriptError:
                pass
            except redis.exceptions.ResponseError:
                raise
            except redis.RedisError:
                self._hang_up()
            except BaseException:
                self._hang_up()
                raise
            finally:
                self._lock.release()
            return self.run(script, keys, args)

        return answer

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
                self._connection = self._wire = None

    def _connected(self) -> Wire:
        """Connect if need be, and return how to ask: over the socket, or through a connection that has none (fakes)."""
        connection = self._connection
        connection.connect()
        handle = getattr(connection, "_sock", None)
        if isinstance(handle, socket.socket):
            self._wire = _over(handle, connection._parser.parse_error)
        else:
            self._wire = _through(connection)
        return self._wire

    def _hang_up(self) -> None:
        self._wire = None
        self._connection.disconnect()


def _answered(wire: Wire) -> Any:
    try:
        return wire.receive()
    except redis.exceptions.ResponseError as error:
        return error


def _asked(wire: Wire, command: tuple[Part, ...]) -> Any:
    wire.send(command)
    return wire.receive()


def _over(handle: socket.socket, error_of: Callable[[str], Exception]) -> Wire:
    """Return how to ask over a socket; `error_of` makes redis-py's exception of what the server says."""
    reader = reader_of(error_of)

    def send(*commands: tuple[Part, ...]) -> None:
        try:
            handle.sendall(b"".join(map(pack, commands)))
        except TimeoutError as error:
            raise redis.TimeoutError(f"{commands[0][0]!r} cannot be sent in time") from error
        except OSError as error:
            raise redis.ConnectionError(f"{commands[0][0]!r}: {error}") from error

    def receive() -> Any:
        try:
            while (answer := reader.gets()) is ...:
                received = handle.recv(_READ_SIZE)
                if not received:
                    raise redis.ConnectionError("connection closed by server")
                reader.feed(received)
        except TimeoutError as error:
            raise redis.TimeoutError("no answer in time") from error
        except OSError as error:
            raise redis.ConnectionError(str(error)) from error
        if isinstance(answer, Exception):
            raise answer
        return answer

    return Wire(send, receive)


def _through(connection: Any) -> Wire:
    def send(*commands: tuple[Part, ...]) -> None:
        for command in commands:
            connection.send_command(*command)

    return Wire(send, connection.read_response)
