"""Bounds: how much one user may ask for at a time. Belongs to the event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from services.api.bodies import MAX_BODY
from services.api.failures import too_large, too_many_requests


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes of a body; requests and watches of one user that may be in flight."""

    body: int = MAX_BODY
    requests: int = 200
    watches: int = 5_000


@dataclass(slots=True)
class InFlight:
    """Counts what is in flight, by user, and refuses what is too much with 429."""

    limits: Limits = field(default_factory=Limits)
    _requests: Counter[str] = field(default_factory=Counter)
    _watches: Counter[str] = field(default_factory=Counter)

    @contextmanager
    def request(self, user: str) -> Iterator[None]:
        """Hold the place of a request. Raises Failure 429."""
        with _place(self._requests, user, self.limits.requests):
            yield

    @contextmanager
    def watch(self, user: str) -> Iterator[None]:
        """Hold the place of a watch. Raises Failure 429."""
        with _place(self._watches, user, self.limits.watches):
            yield


@contextmanager
def _place(counts: Counter[str], user: str, most: int) -> Iterator[None]:
    if counts[user] >= most:
        raise too_many_requests()
    counts[user] += 1
    try:
        yield
    finally:
        counts[user] -= 1
        if not counts[user]:
            del counts[user]


async def read_body(chunks: AsyncIterator[bytes], announced: str, limit: int) -> bytes:
    """Return a body. Raises Failure 413 where it is, or is announced to be, longer than `limit` bytes."""
    if announced.isdecimal() and int(announced) > limit:
        raise too_large(limit)
    parts, size = [], 0
    async for chunk in chunks:
        parts.append(chunk)
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
    return b"".join(parts)
