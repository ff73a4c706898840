"""A connection of an event loop: many ask at a time, what is asked in one turn goes out together.

The log's server answers in the order of the questions, and one fsync serves all appends that it reads at once. No
thread is handed anything, which costs more than an append.
"""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from contextlib import suppress
from typing import Any

import redis

from events.lines import Part, pack, reader_of

PATIENCE = 5.0
"""Seconds that an answer may take."""


class Pipe:
    """A connection of a client's pool, which redis-py makes (address, password, name) and the event loop uses.

    It connects when it is first used, and again after it was lost. One over TLS, or that has no socket, is not used.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool: Any = client.connection_pool
        self._connecting: asyncio.Task[_Answers] | None = None
        self._is_usable = True

    async def ask(self, *command: Part) -> Any:
        """Send a command and return the answer. Raises redis.RedisError, also where no answer came."""
        if not self._is_usable:
            raise redis.ConnectionError("this is no connection for an event loop")
        connecting = self._connecting = self._connecting or asyncio.create_task(self._connect())
        try:
            answers = await asyncio.shield(connecting)
            async with asyncio.timeout(PATIENCE):
                return await answers.ask(command)
        except redis.exceptions.ResponseError:
            raise
        except (redis.RedisError, OSError, TimeoutError) as error:
            self._let_go(connecting)
            raise redis.ConnectionError(f"{command[0]!r}: {error!r}") from error

    def close(self) -> None:
        """Let go of the connection; to be called on the event loop."""
        if self._connecting is not None:
            self._let_go(self._connecting)

    def _let_go(self, connecting: asyncio.Task[_Answers]) -> None:
        """Let the next question make a new connection; whoever waits for an answer over this one is told."""
        if self._connecting is connecting:
            self._connecting = None
        if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
            connecting.result().close()

    async def _connect(self) -> _Answers:
        loop = asyncio.get_running_loop()
        connection = await loop.run_in_executor(None, self._pool.get_connection)
        handle = getattr(connection, "_sock", None)
        if type(handle) is not socket.socket:
            self._is_usable = False
            self._pool.release(connection)
            raise redis.ConnectionError("this is no connection for an event loop")
        connect = loop.create_unix_connection if handle.family == socket.AF_UNIX else loop.create_connection
        mine = handle.dup()
        mine.setblocking(False)
        _, answers = await connect(lambda: _Answers(self._pool, connection), sock=mine)
        return answers


class _Answers(asyncio.Protocol):
    """Gives each question its answer."""

    def __init__(self, pool: Any, connection: Any) -> None:
        self._pool, self._connection = pool, connection
        self._reader = reader_of(connection._parser.parse_error)
        self._transport: Any = None
        self._waiting: deque[asyncio.Future[Any]] = deque()

    async def ask(self, command: tuple[Part, ...]) -> Any:
        if self._transport is None:
            raise redis.ConnectionError("the connection is closed")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(answer)
        self._transport.write(pack(command))
        return await answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (found := self._reader.gets()) is not ...:
            answer = self._waiting.popleft()
            if answer.done():
                continue
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        for answer in self._waiting:
            if not answer.done():
                answer.set_exception(redis.ConnectionError(f"the log's server has hung up: {exc!r}"))
        with suppress(redis.RedisError, OSError):
            self._connection.disconnect()
            self._pool.release(self._connection)
