"""What is there: now, at least as new as a version, or exactly as it was at one.

Every read that must be consistent waits for the log's head as it was when the request came (Kubernetes' quorum read);
requests that come while a head is being asked for share the next answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from events.log import Log
from events.replay import replay
from events.replica import Replica
from schemas.errors import Unavailable
from schemas.objects import Key, Object, name_of, namespace_of
from schemas.positions import Position, stream_id_of
from services.api.failures import expired, too_new
from services.api.hub import Hub

PATIENCE = 10.0
"""Seconds that a read waits for the replica to reach the log's head."""
PATIENCE_FUTURE = 3.0
"""Seconds that a read waits for a version that the log has not reached (Kubernetes' blockTimeout)."""
KEPT_LISTS = 16
"""Lists of a version that are kept for their next pages."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects of a resource at a version, sorted by namespace and name."""

    version: Position
    objects: tuple[Object, ...]


class Heads:
    """Asks for the log's head, once for all who ask while it is on its way. Belongs to the event loop."""

    def __init__(self, last: Callable[[], Position], executor: Executor) -> None:
        self._last = last
        self._executor = executor
        self._next: asyncio.Future[Position] | None = None
        self._asking: asyncio.Task[None] | None = None

    async def current(self) -> Position:
        """Return a head that is at least as new as the log was when this was called. Raises Unavailable."""
        loop = asyncio.get_running_loop()
        if self._next is None:
            self._next = loop.create_future()
        mine = self._next
        if self._asking is None or self._asking.done():
            self._asking = loop.create_task(self._ask())
        return await asyncio.shield(mine)

    async def _ask(self) -> None:
        loop = asyncio.get_running_loop()
        while self._next is not None:
            asked, self._next = self._next, None
            try:
                found = await loop.run_in_executor(self._executor, self._last)
            except Exception as error:  # noqa: BLE001 - handed to everyone who waits
                asked.set_exception(error)
                asked.exception()
            else:
                asked.set_result(found)


class Reads:
    """Reads from a replica whose events a hub has. Belongs to the event loop."""

    def __init__(self, log: Log, replica: Replica, hub: Hub, executor: Executor) -> None:
        self.hub = hub
        self._log = log
        self._replica = replica
        self._executor = executor
        self._heads = Heads(log.last, executor)
        self._lists: OrderedDict[tuple[str, str, Position], Snapshot] = OrderedDict()
        self._replaying = asyncio.Semaphore(1)

    async def catch_up(self) -> None:
        """Wait until the hub, and so the replica, is where the log is now. Raises Unavailable."""
        self._raise_failure()
        head = await self._heads.current()
        if not await self.hub.reach(head, PATIENCE):
            self._raise_failure()
            raise Unavailable(
                f"this server stands at {stream_id_of(self.hub.position)}, not yet at {stream_id_of(head)}"
            )

    async def at_least(self, version: Position) -> None:
        """Wait until the hub is at a version. Raises Failure 504 where the log does not reach it soon."""
        if not await self.hub.reach(version, PATIENCE_FUTURE):
            self._raise_failure()
            raise too_new(version, self.hub.position)

    def get(self, key: Key) -> Object | None:
        """Return an object as it is."""
        return self._replica.get(key)

    async def snapshot(self, resource: str, namespace: str) -> Snapshot:
        """Return the objects of a resource, of one namespace or all, as they are."""
        with self._replica.reading() as state:
            position, objects = state.position, state.list(resource, namespace)
        await self.hub.reach(position, PATIENCE)
        return Snapshot(position, _sorted(objects))

    async def past(self, resource: str, namespace: str, version: Position) -> Snapshot:
        """Return the objects of a resource as they were at a version, from the ring or, behind it, from the log.

        Raises Failure 504 for a version that the log has not reached, 410 for one before it began.
        """
        await self.at_least(version)
        which = (resource, namespace, version)
        found = self._lists.get(which)
        if found is None:
            if self.hub.ring.holds(version):
                found = await self._undone(resource, namespace, version)
            else:
                found = await self._replayed(resource, namespace, version)
            self.keep(which, found)
        self._lists.move_to_end(which)
        return found

    def keep(self, which: tuple[str, str, Position], snapshot: Snapshot) -> None:
        """Keep a snapshot for the next pages of its list."""
        self._lists[which] = snapshot
        while len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)

    async def _undone(self, resource: str, namespace: str, version: Position) -> Snapshot:
        now = await self.snapshot(resource, namespace)
        objects = {_key(resource, obj): obj for obj in now.objects}
        self.hub.ring.undone(objects, resource, version, now.version)
        kept = (obj for obj in objects.values() if not namespace or namespace_of(obj) == namespace)
        return Snapshot(version, _sorted(list(kept)))

    async def _replayed(self, resource: str, namespace: str, version: Position) -> Snapshot:
        from schemas.errors import BadRequest

        async with self._replaying:
            loop = asyncio.get_running_loop()
            try:
                state = await loop.run_in_executor(self._executor, replay, self._log, version)
            except BadRequest as error:
                raise expired(f"too old resource version: {version}: {error}") from error
        return Snapshot(version, _sorted(state.list(resource, namespace)))

    def _raise_failure(self) -> None:
        if self._replica.failure is not None:
            raise self._replica.failure


def _key(resource: str, obj: Object) -> Key:
    namespace = namespace_of(obj)
    return f"{resource}/{namespace}/{name_of(obj)}" if namespace else f"{resource}/{name_of(obj)}"


def _sorted(objects: list[Object]) -> tuple[Object, ...]:
    return tuple(sorted(objects, key=lambda obj: (namespace_of(obj), name_of(obj))))
