"""The ring: the last folded events, so that a watch may begin, and a list be taken, a while ago.

Kubernetes' watch cache holds such a window of each kind; this is one for all kinds, in the log's order. What stands in
it stands at batch ends only, since all objects of a batch carry the version of its end.

Objects take some 8 KB each in memory, as JSON a sixth of that: only the newest changes hold them as they are.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from sys import intern

import orjson

from events.replica import Applied
from schemas.objects import Key, Object, split_key
from schemas.positions import Position, stream_id_of
from services.api.failures import expired
from services.api.kept_json import kept_json

SIZE = 100_000
SLACK = 10_000
"""Events beyond `SIZE` before the oldest are let go together."""
UNPACKED = 2_000
"""How many of the newest changes hold their objects as they are: whoever watches is seldom further behind."""


class Change:
    """One object's change, at `position`. `version` is the end of its batch, which the new object carries.

    `old` and `new` of a packed change are read anew each time: hold on to what you got.
    """

    __slots__ = ("_new", "_old", "actor", "key", "namespace", "position", "resource", "version")

    def __init__(
        self,
        place: tuple[Position, str, str, Key],
        old: Object | None,
        new: Object | None,
        position: Position = 0,
        actor: str = "",
    ) -> None:
        self.version, self.resource, self.namespace, self.key = place
        self._old: Object | bytes | None = old
        self._new: Object | bytes | None = new
        self.position = position
        self.actor = actor

    @property
    def old(self) -> Object | None:
        return _unpacked(self._old)

    @property
    def new(self) -> Object | None:
        return _unpacked(self._new)

    def pack(self, before: bytes | None) -> bytes | None:
        """Hold the objects as JSON; `before` is the old one where that is at hand. Returns the new one."""
        self._old = before or _packed(self._old)
        self._new = packed = _packed(self._new)
        return packed

    def left_as(self, packed: bytes | None) -> bool:
        """Say whether this is the change after which an object was held as `packed`."""
        return packed is not None and self._new is packed


def _packed(held: Object | bytes | None) -> bytes | None:
    return held if held is None or isinstance(held, bytes) else kept_json(held)


def _unpacked(held: Object | bytes | None) -> Object | None:
    return orjson.loads(held) if isinstance(held, bytes) else held


def changes_of(applied: Iterable[Applied]) -> list[Change]:
    """Return what folded events changed; those that concern the log itself change no object."""
    changes = []
    for event, old, new in ((each.event, each.old, each.new) for each in applied):
        if old is not None or new is not None:
            resource, namespace, _ = split_key(event.key)
            place = (event.resource_version, resource, namespace, event.key)
            changes.append(Change(place, old, new, event.position, intern(event.actor.name)))
    return changes


class Ring:
    """The last changes, oldest first. `floor` is the position behind which nothing is missing.

    `_packed` of them are packed, and `_last` has each object as the last of these left it. Not thread-safe: it belongs
    to the event loop.
    """

    def __init__(
        self, floor: Position = 0, size: int = SIZE, slack: int = SLACK, unpacked: int = UNPACKED
    ) -> None:
        self.floor = floor
        self._size = size
        self._slack = slack
        self._unpacked = unpacked
        self._packed = 0
        self._last: dict[Key, bytes] = {}
        self._changes: list[Change] = []
        self._versions: list[Position] = []

    def __len__(self) -> int:
        return len(self._changes)

    def extend(self, changes: Iterable[Change]) -> None:
        """Add changes behind the last, whole batches of them."""
        for change in changes:
            self._changes.append(change)
            self._versions.append(change.version)
        while self._packed < len(self._changes) - self._unpacked:
            self._pack(self._changes[self._packed])
            self._packed += 1
        if len(self._changes) > self._size + self._slack:
            count = len(self._changes) - self._size
            while self._versions[count] == self._versions[count - 1]:
                count -= 1
            self.floor = self._versions[count - 1]
            self._forget(self._changes[:count])
            del self._changes[:count]
            del self._versions[:count]

    def _pack(self, change: Change) -> None:
        packed = change.pack(self._last.pop(change.key, None))
        if packed is not None:
            self._last[change.key] = packed

    def _forget(self, changes: Sequence[Change]) -> None:
        self._packed = max(0, self._packed - len(changes))
        for change in changes:
            if change.left_as(self._last.get(change.key)):
                del self._last[change.key]

    def since(self, version: Position) -> Sequence[Change]:
        """Return the changes behind a version. Raises Failure 410 where some of them are gone."""
        if version < self.floor:
            raise expired(
                f"too old resource version: {version} ({self.floor}): the watch begins at {stream_id_of(self.floor)}; "
                "chronoset replay shows what was before"
            )
        return self._changes[bisect_right(self._versions, version) :]

    def holds(self, version: Position) -> bool:
        """Say whether every change behind a version is still here."""
        return version >= self.floor

    def version_at(self, position: Position) -> Position:
        """Return the last version up to a position that is held; the floor where no change behind it is."""
        count = bisect_right(self._versions, position)
        return self._versions[count - 1] if count else self.floor

    def undone(self, objects: dict[Key, Object], resource: str, then: Position, now: Position) -> None:
        """Take back, in `objects` (of a resource, as they are at `now`), what changed behind `then`."""
        for change in reversed(self.since(then)):
            if change.resource == resource and change.version <= now:
                old = change.old
                if old is None:
                    objects.pop(change.key, None)
                else:
                    objects[change.key] = old
