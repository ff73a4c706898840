"""One connection, used directly: redis-py's client adds some 80 us to each command, as much as an append takes."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, NamedTuple

import redis

Part = str | bytes | int | float


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
        self._lock = threading.Lock()

    def call(self, *command: Part) -> Any:
        """Send a command and return the answer. Raises what redis-py raises; the connection is then made anew."""
        with self._lock:
            if self._connection is None:
                self._connection = self._pool.get_connection()
            connection = self._connection

            def ask() -> Any:
                connection.send_command(*command)
                return connection.read_response()

            try:
                return connection.retry.call_with_retry(ask, lambda _: connection.disconnect())
            except redis.exceptions.ResponseError:
                raise
            except BaseException:
                connection.disconnect()
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
                self._connection = None
