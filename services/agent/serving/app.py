"""The paths of the node's server, and how a refusal looks. Who may ask is who may connect.

    GET /healthz
    GET /containerLogs/{namespace}/{pod}/{container}?follow&previous&timestamps&tailLines&sinceSeconds&...
    WS  /exec/{namespace}/{pod}/{container}?command=sh&command=-c&command=...&stdin&stdout&stderr&tty
    WS  /attach/{namespace}/{pod}/{container}?stdin&stdout&stderr&tty

Every refusal is a Status with the kubelet's sentence, so that the API may hand it on as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from schemas.errors import (
    BadRequest,
    ChronosetError,
    Forbidden,
    Invalid,
    NotFound,
    TooManyRequests,
)
from schemas.objects import name_of, uid_of
from schemas.times import Milliseconds
from services.agent.runtimes.port import LogQuery
from services.agent.serving.log_options import log_options
from services.agent.serving.pods import PodView, container_in, run_of_log
from services.agent.serving.printed import printed
from services.agent.serving.streams import Place, converse, wish_of

MOST_STREAMS = 256
"""How many may follow logs, run commands or be attached at a time: each holds up to three threads."""
_CODES: dict[type[ChronosetError], int] = {
    BadRequest: 400,
    Forbidden: 403,
    NotFound: 404,
    Invalid: 422,
    TooManyRequests: 429,
}

Find = Callable[[str, str], PodView | None]
"""Returns a pod of this process' nodes by namespace and name, as it is now."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What the handlers work with."""

    find: Find
    clock: Callable[[], Milliseconds]


class Handlers:
    """Answers for the pods of this process' nodes."""

    def __init__(self, serving: Serving) -> None:
        self._serving = serving
        self._threads = CapacityLimiter(3 * MOST_STREAMS)
        self._streams = 0

    async def health(self, _request: Request) -> Response:
        """Say that the server answers."""
        return PlainTextResponse("ok")

    async def logs(self, request: Request) -> Response:
        """Send a container's log. What is wrong is found out before the first byte."""
        view = self._pod(request)
        container = container_in(view, request.path_params["container"])
        options = log_options(request.query_params, self._serving.clock())
        run = run_of_log(name_of(view.pod), container, options.previous)
        query = LogQuery(options.follow, options.tail, options.since)
        self._check_room()
        read = partial(view.runtime.log, uid_of(view.pod), container.name, run, query)
        batches = await run_sync(read, limiter=self._threads)
        lines = printed(batches, options, self._threads, request.is_disconnected)
        return StreamingResponse(self._counted(lines), media_type="text/plain")

    async def exec(self, websocket: WebSocket) -> None:
        """Run a command in a container."""
        await self._converse(websocket, True)

    async def attach(self, websocket: WebSocket) -> None:
        """Let somebody see what a container's program prints, and type."""
        await self._converse(websocket, False)

    async def _converse(self, websocket: WebSocket, is_command: bool) -> None:
        try:
            view = self._pod(websocket)
            container = container_in(view, websocket.path_params["container"])
            wish = wish_of(websocket.query_params, websocket.scope["subprotocols"], is_command)
            self._check_room()
        except ChronosetError as error:
            await websocket.send_denial_response(refusal_of(error))
            return
        with self._place():
            await converse(websocket, Place(view, container.name, self._threads), wish)

    def _pod(self, connection: HTTPConnection) -> PodView:
        name = connection.path_params["pod"]
        view = self._serving.find(connection.path_params["namespace"], name)
        if view is None:
            raise NotFound(f'pod "{name}" does not exist')
        return view

    def _check_room(self) -> None:
        if self._streams >= MOST_STREAMS:
            raise TooManyRequests(
                f"this node serves {MOST_STREAMS} streams already: try again when one has ended"
            )

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def _counted(self, lines: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        with self._place():
            async for part in lines:
                yield part


def app_of(serving: Serving) -> Starlette:
    """Return the server's application."""
    handlers = Handlers(serving)
    place = "/{namespace}/{pod}/{container}"
    routes = [
        Route("/healthz", handlers.health),
        Route(f"/containerLogs{place}", handlers.logs),
        WebSocketRoute(f"/exec{place}", handlers.exec),
        WebSocketRoute(f"/attach{place}", handlers.attach),
    ]
    return Starlette(routes=routes, exception_handlers={ChronosetError: _refuse, HTTPException: _refuse_path})


def refusal_of(error: ChronosetError) -> JSONResponse:
    """Return an error as a Status (apimachinery/pkg/api/errors)."""
    code = _CODES.get(type(error), 500)
    status: dict[str, Any] = {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": str(error) if code < 500 else f"Internal error occurred: {error}",
        "reason": error.reason if code < 500 else "InternalError",
        "code": code,
    }
    if isinstance(error, Invalid):
        causes = [
            {"reason": cause.reason, "message": cause.message, "field": cause.field} for cause in error.causes
        ]
        status["details"] = {"causes": causes}
    return JSONResponse(status, code)


async def _refuse_path(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return refusal_of(BadRequest("the server does not allow this method on the requested resource"))
    return refusal_of(NotFound("the server could not find the requested resource"))


async def _refuse(_: Request, error: Exception) -> Response:
    assert isinstance(error, ChronosetError)
    return refusal_of(error)
