"""exec and attach: a session of the runtime on one side, a WebSocket with Kubernetes' channels on the other.

What is found out once the WebSocket is open (nothing runs, the command cannot be executed, how it ended) is told as a
Status on the error channel, then the connection is closed. A client that goes ends what it started.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import structlog
from anyio import CancelScope, CapacityLimiter, create_memory_object_stream, create_task_group
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync
from starlette.datastructures import QueryParams
from starlette.websockets import WebSocket, WebSocketDisconnect

from schemas.errors import BadRequest, ChronosetError
from schemas.objects import uid_of
from services.agent.runtimes.port import Command, Session
from services.agent.serving.channels import (
    CLOSE,
    ERROR,
    NUMBERS,
    RESIZE,
    STDERR,
    STDIN,
    STDOUT,
    SUBPROTOCOLS,
    V5,
    ended,
)
from services.agent.serving.log_options import flag
from services.agent.serving.pods import PodView

T = TypeVar("T")
MOST_WAITING = 32
"""How many messages of input may wait for a program that reads none, before no more are taken from the client."""
_KUBELET_NAMES = {"stdin": "input", "stdout": "output", "stderr": "error"}
_log = structlog.get_logger("chronoset.node-server")


@dataclass(frozen=True, slots=True)
class Wish:
    """PodExecOptions or PodAttachOptions; no words: to attach."""

    protocol: str
    words: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False


@dataclass(frozen=True, slots=True)
class Place:
    """The container that is meant, and the threads in which its session may block."""

    view: PodView
    container: str
    threads: CapacityLimiter


def wish_of(query: QueryParams, offered: Sequence[str], is_command: bool) -> Wish:
    """Return what a query asks for, in the API's words or the kubelet's. Raises BadRequest."""
    protocol = next((each for each in SUBPROTOCOLS if each in offered), None)
    if protocol is None:
        raise BadRequest(f"no subprotocol of {list(offered)} is known; accepted are {list(SUBPROTOCOLS)}")
    words = tuple(query.getlist("command"))
    if is_command and not words:
        raise BadRequest("command: is missing; name it, each word as a parameter of its own")
    stdin, stdout, stderr = (
        flag(query, name) or flag(query, other) for name, other in _KUBELET_NAMES.items()
    )
    if not (stdin or stdout or stderr):
        raise BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    tty = flag(query, "tty")
    return Wish(protocol, words if is_command else (), stdin, stdout, stderr and not tty, tty)


async def converse(websocket: WebSocket, place: Place, wish: Wish) -> None:
    """Accept the connection, and carry what is said until one side ends."""
    await websocket.accept(wish.protocol)
    try:
        session = await run_sync(_begin, place, wish, limiter=place.threads)
    except (ChronosetError, OSError) as error:
        await _tell(websocket, _internal_error(f"error executing command in container: {error}"))
        return
    await _Conversation(websocket, session, place.threads, wish).run()


def _begin(place: Place, wish: Wish) -> Session:
    uid, runtime = uid_of(place.view.pod), place.view.runtime
    if not wish.words:
        return runtime.attach(uid, place.container, wish.stdin)
    return runtime.exec(Command(uid, place.container, wish.words, wish.tty, wish.stdin))


class _Conversation:
    def __init__(self, websocket: WebSocket, session: Session, threads: CapacityLimiter, wish: Wish) -> None:
        self._websocket = websocket
        self._session = session
        self._threads = threads
        self._wish = wish
        self._shown = {"stdout": wish.stdout, "stderr": wish.stderr}
        self._input, self._typed = create_memory_object_stream[bytes | None](MOST_WAITING)

    async def run(self) -> None:
        """Carry both ways. An empty message first says that the command runs, as the API server's does."""
        first = STDOUT if self._wish.stdout else STDERR if self._wish.stderr else ERROR
        try:
            async with self._input, self._typed, create_task_group() as tasks:
                tasks.start_soon(self._receive, tasks)
                tasks.start_soon(self._feed)
                with suppress(WebSocketDisconnect, RuntimeError, OSError):
                    await self._websocket.send_bytes(bytes([first]))
                    await self._send()
                tasks.cancel_scope.cancel()
        finally:
            await self._close()

    async def _send(self) -> None:
        """Send what is printed, then how it ended."""
        while True:
            stream, data = await self._in_thread(self._session.read)
            if not stream:
                break
            if self._shown[stream]:
                await self._websocket.send_bytes(bytes([NUMBERS[stream]]) + data)
        code = await self._in_thread(self._session.wait)
        await _tell(self._websocket, ended(self._wish.words, code))

    async def _receive(self, tasks: TaskGroup) -> None:
        """Take what the client says until it goes, which ends everything."""
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                break
            data = message.get("bytes") or (message.get("text") or "").encode()
            if data:
                await self._take(data[0], data[1:])
        tasks.cancel_scope.cancel()

    async def _take(self, channel: int, data: bytes) -> None:
        if channel == STDIN and self._wish.stdin and data:
            await self._input.send(data)
        elif channel == CLOSE and self._wish.protocol == V5 and data == bytes([STDIN]) and self._wish.stdin:
            await self._input.send(None)
        elif channel == RESIZE and self._wish.tty and (size := _size_of(data)):
            self._session.resize(*size)

    async def _feed(self) -> None:
        """Give the program its input; what it does not take any more is dropped."""
        with suppress(OSError):
            async for data in self._typed:
                if data is None:
                    await self._in_thread(self._session.close_input)
                    break
                await self._in_thread(partial(self._session.write, data))
        async for _ in self._typed:
            pass

    async def _close(self) -> None:
        """End the session, whatever is going on; what still blocks in it returns."""
        with CancelScope(shield=True):
            await run_sync(self._session.close, limiter=self._threads)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        """Run what blocks; who is cancelled does not wait for it, since the session is closed at once."""
        return await run_sync(call, limiter=self._threads, abandon_on_cancel=True)


async def _tell(websocket: WebSocket, status: dict[str, Any]) -> None:
    """Send a Status on the error channel and close."""
    try:
        await websocket.send_bytes(bytes([ERROR]) + json.dumps(status).encode())
        await websocket.close()
    except (WebSocketDisconnect, RuntimeError, OSError) as error:
        _log.info("a client left before it was told how its command ended", error=str(error))


def _internal_error(message: str) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "message": f"Internal error occurred: {message}",
        "reason": "InternalError",
        "details": {"causes": [{"message": message}]},
        "code": 500,
    }


def _size_of(data: bytes) -> tuple[int, int] | None:
    """Return columns and rows of a TerminalSize (client-go: remotecommand/resize.go); None where it is none."""
    try:
        size = json.loads(data)
        return int(size["Width"]), int(size["Height"])
    except (ValueError, KeyError, TypeError):
        return None
