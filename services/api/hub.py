"""The hub: what the replica folds goes into the ring and, serialised once, to every watch that it concerns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from events.replica import Applied
from schemas.kinds import EVENT, POD
from schemas.objects import Object, labels_of, split_key, with_metadata
from schemas.positions import Position
from schemas.selectors import Selector
from services.api.notice_books import NoticeBook, as_change
from services.api.ring import Change, Ring, changes_of

EVERYTHING = Selector()
ADDED, MODIFIED, DELETED, BOOKMARK = "ADDED", "MODIFIED", "DELETED", "BOOKMARK"
MOST_PENDING = 10_000
MOST_PENDING_BYTES = 16 * 1024 * 1024
"""What may wait for a watcher that reads slowly; with more it is dropped, and begins again where it was."""
SEND_PATIENCE = 30.0
"""Seconds that a client may take to read what is already sent before it is dropped."""

Encode = Callable[[str, Object], bytes]
"""A watch event of a type and an object as a line of bytes."""


NODE_NAME, NAME = "spec.nodeName", "metadata.name"
PLACES = (NODE_NAME, NAME)
"""The fields by which watches are found."""


Place = tuple[str, str, str]
"""A resource and a place of a selection in it."""


class Encoding(NamedTuple):
    """How a watch's events are written; watches whose encodings have one `name` share what is written."""

    name: str
    encode: Encode


@dataclass(frozen=True, slots=True)
class Selection:
    """Which objects of a resource are meant: of a namespace (empty: all), by labels, by fields.

    `place` is where the hub keeps watches of this selection: (`spec.nodeName`, `n1`) or (`metadata.name`, `web-0`)
    where it can only have objects of which that is true, so that a thousand agents cost no change of a pod a thousand
    looks; ("", "") for all others.
    """

    resource: str
    namespace: str = ""
    labels: Selector = EVERYTHING
    fields: Callable[[Object], bool] | None = None
    place: tuple[str, str] = ("", "")

    def has(self, obj: Object) -> bool:
        """Say whether an object of the resource and the namespace is among them."""
        return (not self.labels.requirements or self.labels.matches(labels_of(obj))) and (
            self.fields is None or self.fields(obj)
        )

    def type_of(self, change: Change) -> str:
        """Return what a change is to somebody who sees only this selection; empty: nothing.

        An object that leaves the selection is DELETED (apiserver/pkg/storage/cacher convertToWatchEvent).
        """
        if self.namespace and change.namespace != self.namespace:
            return ""
        old, new = change.old, change.new
        was = old is not None and self.has(old)
        if new is not None and self.has(new):
            return MODIFIED if was else ADDED
        return DELETED if was else ""


class Watcher:
    """One watch: what waits to be sent to it. `position` is the last that it was told of, `ended` that it is over.

    `due` is when it wants to be woken in any case, `sending_since` since when its client has not taken what was sent
    (0: it has); both by the monotonic clock. One tick of the hub serves all watches: a timer for each would cost more
    than all else that a watch does.
    """

    __slots__ = (
        "_count",
        "_pending",
        "_size",
        "_waiting",
        "due",
        "encoding",
        "ended",
        "is_slow",
        "position",
        "selection",
        "sending_since",
        "task",
    )

    def __init__(self, selection: Selection, encoding: Encoding, position: Position) -> None:
        self.selection = selection
        self.encoding = encoding
        self.position = position
        self.ended = False
        self.is_slow = False
        self.due = 0.0
        self.sending_since = 0.0
        self.task: asyncio.Task[Any] | None = None
        self._pending: list[bytes] = []
        self._count = 0
        self._size = 0
        self._waiting: asyncio.Future[None] | None = None

    def tell(self, lines: Sequence[bytes], position: Position) -> None:
        """Add lines, all of the same batches, that bring the watch to a position."""
        if self.ended:
            return
        self.position = position
        self._count += len(lines)
        self._size += sum(map(len, lines))
        if self._count > MOST_PENDING or self._size > MOST_PENDING_BYTES:
            self.is_slow = True
            self._pending = []
            self.end()
        else:
            self._pending.append(lines[0] if len(lines) == 1 else b"".join(lines))
            self.wake()

    def end(self) -> None:
        self.ended = True
        self.wake()

    def wake(self) -> None:
        """Let `next` return."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def next(self) -> bytes:
        """Return what is to be sent, once there is something; nothing when it is woken for another reason."""
        if not self._pending and not self.ended:
            self._waiting = asyncio.get_running_loop().create_future()
            await self._waiting
            self._waiting = None
        lines, self._pending, self._count, self._size = self._pending, [], 0, 0
        return lines[0] if len(lines) == 1 else b"".join(lines)


class Hub:
    """Takes what a replica folds, on the replica's thread, and tells it on, on the event loop it was opened on."""

    def __init__(self, ring: Ring | None = None) -> None:
        self.ring = ring or Ring()
        self.book = NoticeBook(self.ring.floor)
        self.position: Position = self.ring.floor
        self.closed = False
        self.loop: asyncio.AbstractEventLoop | None = None
        self._watchers: dict[Place, set[Watcher]] = {}
        self._waiting: list[tuple[Position, asyncio.Future[None]]] = []

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """From now on deliver on this loop. What was folded before is in the ring already."""
        self.loop = loop
        self.book = NoticeBook(self.ring.floor)
        self.book.begin(self.ring.since(self.ring.floor))

    def receive(self, applied: Sequence[Applied]) -> None:
        """Take a chunk of whole batches (events.replica.Replica's on_applied); from any thread, one at a time."""
        changes, position = changes_of(applied), applied[-1].event.resource_version
        if self.loop is None:
            self._keep(changes, position)
        elif not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self._deliver, changes, position)

    def watch(self, selection: Selection, encoding: Encoding, after: Position) -> Watcher:
        """Return a watch of what happens behind a position, beginning with what the ring holds. Raises Failure 410."""
        watcher = Watcher(selection, encoding, after)
        changes = [each for each in self.ring.since(after) if each.resource == selection.resource]
        if selection.resource == EVENT.resource:
            changes = _in_order([*changes, *map(as_change, self.book.since(after))])
        self._tell(watcher, changes, {})
        self._watchers.setdefault((selection.resource, *selection.place), set()).add(watcher)
        return watcher

    def leave(self, watcher: Watcher) -> None:
        """Forget a watch."""
        place = (watcher.selection.resource, *watcher.selection.place)
        watchers = self._watchers.get(place, set())
        watchers.discard(watcher)
        if not watchers:
            self._watchers.pop(place, None)

    def tick(self, now: float) -> None:
        """Wake the watches that are due by now, and end those whose clients have not read for too long."""
        for watchers in self._watchers.values():
            for watcher in watchers:
                if watcher.sending_since and now - watcher.sending_since > SEND_PATIENCE:
                    watcher.is_slow = True
                    if watcher.task is not None:
                        watcher.task.cancel()
                elif now >= watcher.due:
                    watcher.wake()

    def count(self) -> int:
        """Return how many watches are open; from any thread, so to within those that come and go just now."""
        return sum(map(len, list(self._watchers.values())))

    async def reach(self, position: Position, timeout: float) -> bool:
        """Wait until everything up to a position has been delivered; False where that took too long."""
        if self.position >= position:
            return True
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((position, future))
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        return not self.closed

    def close(self) -> None:
        """End every watch and every wait: the program stops."""
        self.closed = True
        for watchers in self._watchers.values():
            for watcher in watchers:
                watcher.end()
        for _, future in self._waiting:
            if not future.done():
                future.set_result(None)

    def _deliver(self, changes: list[Change], position: Position) -> None:
        self._keep(changes, position)
        notices = self.book.extend(changes)
        if notices and any(resource == EVENT.resource for resource, _, _ in self._watchers):
            changes = _in_order([*changes, *map(as_change, notices)])
        by_place: dict[Place, list[Change]] = {}
        for change in changes:
            for place in _places_of(change):
                if place in self._watchers:
                    by_place.setdefault(place, []).append(change)
        encoded: dict[tuple[int, str, str], bytes] = {}
        for place, theirs in by_place.items():
            for watcher in self._watchers[place]:
                self._tell(watcher, theirs, encoded)
        if self._waiting:
            waiting, self._waiting = self._waiting, []
            for wanted, future in waiting:
                if wanted > position:
                    self._waiting.append((wanted, future))
                elif not future.done():
                    future.set_result(None)

    def _keep(self, changes: list[Change], position: Position) -> None:
        self.ring.extend(changes)
        self.position = position

    def _tell(
        self, watcher: Watcher, changes: Sequence[Change], encoded: dict[tuple[int, str, str], bytes]
    ) -> None:
        """Tell a watch what of some changes concerns it; what is encoded once is kept in `encoded` for the others."""
        lines = []
        for change in changes:
            if change.version <= watcher.position:
                continue
            type_ = watcher.selection.type_of(change)
            if not type_:
                continue
            known = (id(change), type_, watcher.encoding.name)
            line = encoded.get(known)
            if line is None:
                line = encoded[known] = watcher.encoding.encode(type_, _shown(change, type_))
            lines.append(line)
        if lines:
            watcher.tell(lines, changes[-1].version)


def _in_order(changes: list[Change]) -> list[Change]:
    return sorted(changes, key=lambda change: change.version)


def _places_of(change: Change) -> set[Place]:
    """Return where the watches are that a change may concern."""
    resource = change.resource
    places = {(resource, "", ""), (resource, NAME, split_key(change.key)[2])}
    if resource == POD.resource:
        for obj in (change.old, change.new):
            if obj is not None:
                places.add((resource, NODE_NAME, obj["spec"].get("nodeName", "")))
    return places


def _shown(change: Change, type_: str) -> Object:
    """Return the object of an event: the new one; of what left, the old one with the version at which it left."""
    shown = change.new if type_ != DELETED else change.old
    assert shown is not None
    return shown if type_ != DELETED else with_metadata(shown, resourceVersion=str(change.version))
