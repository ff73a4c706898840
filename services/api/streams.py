"""A watch as a response: what there is at first, what happens, bookmarks, until its time is over."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.api.hub import Hub, Watcher

SHORTEST = 1800.0
"""Seconds that a watch lasts where its client does not say, at least, and at most twice that: so that not all of them
come back at once (apiserver's --min-request-timeout)."""
BOOKMARK_EVERY = 60.0
SEND_PATIENCE = 30.0
"""Seconds that a client may take to read what is already sent before it is dropped."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a watch goes: what is sent first, and bookmarks for clients that understand them (None: none)."""

    first: bytes
    bookmark: Callable[[int], bytes] | None
    seconds: float = 0.0


class WatchResponse(Response):
    """Streams a watcher's lines. `place` is held while it lasts."""

    def __init__(
        self,
        hub: Hub,
        watcher: Watcher,
        course: Course,
        place: AbstractContextManager[object],
        media_type: str,
    ) -> None:
        super().__init__(media_type=media_type)
        del self.headers["content-length"]
        self._hub = hub
        self._watcher = watcher
        self._course = course
        self._place = place

    async def __call__(self, _scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        leaving = asyncio.create_task(_end_when_gone(receive, self._watcher))
        try:
            with self._place:
                await send(start)
                await self._stream(send)
        finally:
            leaving.cancel()
            self._hub.leave(self._watcher)

    async def _stream(self, send: Send) -> None:
        watcher, course = self._watcher, self._course
        deadline = time.monotonic() + (course.seconds or SHORTEST * random.uniform(1, 2))
        await _send(send, course.first)
        while not watcher.is_slow:
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                break
            pause = min(remaining, BOOKMARK_EVERY) if course.bookmark else remaining
            lines = await watcher.next(pause)
            if lines:
                await _send(send, lines)
            elif watcher.ended:
                break
            elif course.bookmark:
                await _send(send, course.bookmark(self._hub.position))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _send(send: Send, lines: bytes) -> None:
    async with asyncio.timeout(SEND_PATIENCE):
        await send({"type": "http.response.body", "body": lines, "more_body": True})


async def _end_when_gone(receive: Receive, watcher: Watcher) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    watcher.end()
