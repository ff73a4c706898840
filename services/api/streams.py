"""A watch as a response: what there is at first, what happens, bookmarks, until its time is over."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.api.connections import PEER, Peer
from services.api.hub import Hub, Watcher
from services.api.limits import Place
from services.api.negotiation import JSON

SHORTEST = 1800.0
"""Seconds that a watch lasts where its client does not say, at least, and at most twice that: so that not all of them
come back at once (apiserver's --min-request-timeout)."""
BOOKMARK_EVERY = 60.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Course:
    """How a watch goes: for how many seconds (0: as long as usual), with bookmarks for clients that understand them."""

    bookmark: Callable[[int], bytes] | None
    seconds: float = 0.0


class WatchResponse(Response):
    """Streams a watcher's lines behind `first`. `place`, which is taken, is left when it ends.

    Thousands are open at a time, mostly idle: so none has more tasks than one, nor keeps what it has sent.
    """

    def __init__(self, hub: Hub, watcher: Watcher, first: bytes, course: Course, place: Place) -> None:
        super().__init__(media_type=JSON)
        del self.headers["content-length"]
        self._hub = hub
        self._watcher = watcher
        self._first = first
        self._course = course
        self._place = place

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        peer: Peer = scope["state"][PEER]
        peer.on_leaving(self._watcher.end)
        self._watcher.task = asyncio.current_task()
        try:
            await send(start)
            await self._stream(send)
        except asyncio.CancelledError:
            if not self._watcher.is_slow:
                raise
            _log.warning(
                "dropped a watch whose client does not read", resource=self._watcher.selection.resource
            )
        finally:
            peer.on_leaving(None)
            self._place.leave()
            self._hub.leave(self._watcher)

    async def _stream(self, send: Send) -> None:
        watcher, course, clock = self._watcher, self._course, time.monotonic
        now = clock()
        deadline = now + (course.seconds or SHORTEST * random.uniform(1, 2))
        bookmark_at = now + BOOKMARK_EVERY if course.bookmark else deadline
        first, self._first = self._first, b""
        await self._send(send, first)
        del first
        while now < deadline:
            watcher.due = min(deadline, bookmark_at)
            lines = await watcher.next()
            now = clock()
            if lines:
                await self._send(send, lines)
            elif watcher.ended:
                break
            elif course.bookmark and now >= bookmark_at:
                await self._send(send, course.bookmark(self._hub.position))
                bookmark_at = now + BOOKMARK_EVERY
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send(self, send: Send, lines: bytes) -> None:
        self._watcher.sending_since = time.monotonic()
        await send({"type": "http.response.body", "body": lines, "more_body": True})
        self._watcher.sending_since = 0.0
