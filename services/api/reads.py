"""What is there: now, at least as new as a version, or exactly as it was at one.

Every read that must be consistent waits for the log's head as it was when the request came (Kubernetes' quorum read);
requests that come while a head is being asked for share the next answer.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from events.history import History
from events.log import Log
from events.replica import Replica
from events.state import State
from schemas.errors import BadRequest, Thinned, Unavailable
from schemas.objects import Key, Object, name_of, namespace_of
from schemas.positions import Position, stream_id_of, time_of
from schemas.times import Milliseconds, parse_rfc3339
from services.api.failures import expired, too_new
from services.api.hub import Hub
from services.api.notice_books import MOST_CHANGES, subject_of, told_of
from services.api.notices import Notice
from services.api.seams import AtOnce
from services.api.troubles import troubles_of
from services.broker.leases import Heartbeats

PATIENCE = 10.0
"""Seconds that a read waits for the replica to reach the log's head."""
PATIENCE_FUTURE = 3.0
"""Seconds that a read waits for a version that the log has not reached (Kubernetes' blockTimeout)."""
KEPT_SUBJECTS = 256
"""Objects whose older notices are kept."""
KEPT_STATES, KEPT_OBJECTS = 4, 200_000
"""States of the past that are kept, and the objects in all of them; but always the last."""
KEPT_LISTS = 16
"""Lists of a version that are kept for their next pages."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The objects of a resource at a version, sorted by namespace and name."""

    version: Position
    objects: tuple[Object, ...]


class Reading(Protocol):
    """What the verbs read from: the present (`Reads`), or a moment of the past. What each does, `Reads` says."""

    @property
    def hub(self) -> Hub: ...

    async def catch_up(self) -> None: ...

    async def at_least(self, version: Position) -> None: ...

    def get(self, key: Key) -> Object | None: ...

    async def snapshot(self, resource: str, namespace: str) -> Snapshot: ...

    async def past(self, resource: str, namespace: str, version: Position) -> Snapshot: ...

    def keep(self, which: tuple[str, str, Position], snapshot: Snapshot) -> None: ...

    async def notices(self, wanted: Mapping[str, str], version: Position) -> Sequence[Notice]: ...

    async def troubles(self, wanted: Mapping[str, str]) -> Sequence[Notice]: ...

    def notice(self, namespace: str, name: str) -> Notice | None: ...


class Heads:
    """Asks for the log's head, once for all who ask while it is on its way. Belongs to the event loop."""

    def __init__(self, log: Log, at_once: AtOnce, executor: Executor) -> None:
        self._log = log
        self._at_once = at_once
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
                found = await self._at_once.last()
                if found is None:
                    found = await loop.run_in_executor(self._executor, self._log.last)
            except Exception as error:  # noqa: BLE001 - handed to everyone who waits
                asked.set_exception(error)
                asked.exception()
            else:
                asked.set_result(found)


class Reads:
    """Reads from a replica whose events a hub has. Belongs to the event loop."""

    def __init__(
        self, history: History, replica: Replica, hub: Hub, at_once: AtOnce, executor: Executor
    ) -> None:
        self.hub: Hub = hub
        self.heartbeats: Heartbeats | None = None
        """The queue, where there is one."""
        self._history = history
        self._replica = replica
        self._executor = executor
        self._heads = Heads(history.log, at_once, executor)
        self._lists: OrderedDict[tuple[str, str, Position], Snapshot] = OrderedDict()
        self._told: OrderedDict[tuple[Key, Position], tuple[Notice, ...]] = OrderedDict()
        self._states: OrderedDict[tuple[Position, str], State] = OrderedDict()
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
        return Snapshot(position, sorted_objects(objects))

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

    async def notices(self, wanted: Mapping[str, str], version: Position) -> Sequence[Notice]:
        """Return what was said up to a version, or of it what may be what a field selector's equalities want.

        That is the last of all objects; of one object that they name also what was said before, unless it is too long
        ago (services.api.notice_books).
        """
        book, subject = self.hub.book, subject_of(wanted)
        recent = book.until(version, wanted.get("involvedObject.name", ""))
        if not subject or (version >= book.floor and self._is_within(subject, book.floor)):
            return recent
        return (*await self._older(subject, min(version, book.floor)), *recent)

    async def troubles(self, wanted: Mapping[str, str]) -> Sequence[Notice]:
        """Return what the controller of the one object that is asked about cannot do at the moment."""
        subject = subject_of(wanted)
        try:
            return await troubles_of(self.heartbeats, subject, self.get(subject) if subject else None)
        except Unavailable:
            return ()

    def notice(self, namespace: str, name: str) -> Notice | None:
        """Return what was said lately under the name of an Event."""
        return self.hub.book.find(namespace, name)

    async def _older(self, subject: Key, until: Position) -> tuple[Notice, ...]:
        found = self._told.get((subject, until))
        if found is None:
            loop = asyncio.get_running_loop()
            read = partial(self._history.versions_of, subject, MOST_CHANGES, until)
            versions = await loop.run_in_executor(self._executor, read)
            found = self._told[subject, until] = tuple(told_of(versions))
        self._told.move_to_end((subject, until))
        while len(self._told) > KEPT_SUBJECTS:
            self._told.popitem(last=False)
        return found

    def _is_within(self, subject: Key, floor: Position) -> bool:
        """Say whether all that ever happened to an object is behind a position, as far as that is known."""
        found = self.get(subject)
        return not floor or (found is not None and _created_at(found) > time_of(floor) + 1000)

    async def state_at(self, position: Position, resource: str) -> State:
        """Return all that was there at a position, folded from the log one after another; the last are kept.

        Where not all of that is kept, it has at least the objects of a resource. Raises BadRequest before the log,
        Thinned where that resource's are not kept.
        """
        async with self._replaying:
            which = (position, "" if (position, "") in self._states else resource)
            found = self._states.get(which)
            if found is None:
                loop = asyncio.get_running_loop()
                folded = await loop.run_in_executor(self._executor, self._fold, position, resource)
                found, which = folded[0], (position, "" if folded[1] else resource)
                self._states[which] = found
            self._states.move_to_end(which)
            while len(self._states) > 1 and (
                len(self._states) > KEPT_STATES
                or sum(len(state.objects) for state in self._states.values()) > KEPT_OBJECTS
            ):
                self._states.popitem(last=False)
            return found

    def keep(self, which: tuple[str, str, Position], snapshot: Snapshot) -> None:
        """Keep a snapshot for the next pages of its list."""
        self._lists[which] = snapshot
        while len(self._lists) > KEPT_LISTS:
            self._lists.popitem(last=False)

    def _fold(self, position: Position, resource: str) -> tuple[State, bool]:
        """Return the state at a position, and whether it is all of it."""
        try:
            return self._history.state_at(position), True
        except Thinned:
            return self._history.state_at(position, frozenset((resource,))), False

    async def _undone(self, resource: str, namespace: str, version: Position) -> Snapshot:
        now = await self.snapshot(resource, namespace)
        objects = {_key(resource, obj): obj for obj in now.objects}
        self.hub.ring.undone(objects, resource, version, now.version)
        kept = (obj for obj in objects.values() if not namespace or namespace_of(obj) == namespace)
        return Snapshot(version, sorted_objects(list(kept)))

    async def _replayed(self, resource: str, namespace: str, version: Position) -> Snapshot:
        try:
            state = await self.state_at(version, resource)
        except BadRequest as error:
            raise expired(f"too old resource version: {version}: {error}") from error
        return Snapshot(version, sorted_objects(state.list(resource, namespace)))

    def _raise_failure(self) -> None:
        if self._replica.failure is not None:
            raise self._replica.failure


def _created_at(obj: Object) -> Milliseconds:
    return parse_rfc3339(obj["metadata"]["creationTimestamp"])


def _key(resource: str, obj: Object) -> Key:
    namespace = namespace_of(obj)
    return f"{resource}/{namespace}/{name_of(obj)}" if namespace else f"{resource}/{name_of(obj)}"


def sorted_objects(objects: list[Object]) -> tuple[Object, ...]:
    """Return objects as lists have them: by namespace and name."""
    return tuple(sorted(objects, key=lambda obj: (namespace_of(obj), name_of(obj))))
