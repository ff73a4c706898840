"""Bounds: how much one user may ask for at a time. Belongs to the event loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
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

    def request(self, user: str) -> Place:
        """Return the place of a request, to be held while it lasts. Entering it raises Failure 429."""
        return Place(self._requests, user, self.limits.requests)

    def watch(self, user: str) -> Place:
        """Return the place of a watch, to be taken when it begins and left when it ends."""
        return Place(self._watches, user, self.limits.watches)


class Place:
    """A user's place among those of whom there may be so many at a time."""

    __slots__ = ("_counts", "_most", "_user")

    def __init__(self, counts: Counter[str], user: str, most: int) -> None:
        self._counts, self._user, self._most = counts, user, most

    def take(self) -> None:
        """Raise Failure 429 where there is none."""
        if self._counts[self._user] >= self._most:
            raise too_many_requests()
        self._counts[self._user] += 1

    def leave(self) -> None:
        self._counts[self._user] -= 1
        if not self._counts[self._user]:
            del self._counts[self._user]

    def __enter__(self) -> None:
        self.take()

    def __exit__(self, *_: object) -> None:
        self.leave()


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
