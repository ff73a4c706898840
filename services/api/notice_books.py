"""The last notices of a cluster, and those of one object: what `kubectl get events` and `describe` show.

In memory are the last `SIZE` notices of all objects. What was said of one object before those is computed from its own
changes in the log, found by the archive's index, when somebody asks for its Events; `chronoset replay history` has all.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence

import structlog

from events.history import Version
from schemas.kinds import EVENT, KINDS
from schemas.objects import Key, Object, key_of, split_key
from schemas.positions import Position
from services.api.failures import expired
from services.api.notices import Notice, event_of, notices_of
from services.api.ring import Change

SIZE = 10_000
SLACK = 2_000
"""Notices beyond `SIZE` before the oldest are let go together."""
CHUNK = 1_000
"""Changes that are looked at together when a book begins."""
MOST_CHANGES = 100
"""How many of an object's older changes are looked at."""


_log = structlog.get_logger()


class NoticeBook:
    """The last notices, oldest first. `floor` is the version behind which none is missing. Not thread-safe."""

    def __init__(self, floor: Position = 0, size: int = SIZE, slack: int = SLACK) -> None:
        self.floor = floor
        self._size = size
        self._slack = slack
        self._notices: list[Notice] = []
        self._by_name: dict[str, list[Notice]] = {}

    def begin(self, changes: Sequence[Change]) -> None:
        """Fill an empty book with what the last of some changes mean, as many as it has room for."""
        start = len(changes)
        parts: list[list[Notice]] = []
        while start and sum(map(len, parts)) < self._size:
            start, end = max(0, start - CHUNK), start
            parts.append([notice for change in changes[start:end] for notice in _read(change)])
        if start:
            self.floor = changes[start - 1].version
        self._add([notice for part in reversed(parts) for notice in part])

    def extend(self, changes: Iterable[Change]) -> list[Notice]:
        """Add what changes behind the last mean, and return it."""
        added = [notice for change in changes for notice in _read(change)]
        self._add(added)
        if len(self._notices) > self._size + self._slack:
            self._let_go(len(self._notices) - self._size)
        return added

    def since(self, version: Position) -> Sequence[Notice]:
        """Return the notices behind a version. Raises Failure 410 where some of them are gone."""
        if version < self.floor:
            raise expired(f"too old resource version: {version} ({self.floor})")
        return self._notices[bisect_right(self._notices, version, key=_version) :]

    def until(self, version: Position, name: str = "") -> Sequence[Notice]:
        """Return the notices up to a version, of all objects or of those of a name."""
        notices = self._by_name.get(name, []) if name else self._notices
        return notices[: bisect_right(notices, version, key=_version)]

    def find(self, namespace: str, name: str) -> Notice | None:
        """Return the notice of a name."""
        about, _, _ = name.rpartition(".")
        found = (each for each in self._by_name.get(about, ()) if each.name == name)
        return next((each for each in found if each.namespace == namespace), None)

    def _let_go(self, count: int) -> None:
        self.floor = self._notices[count - 1].version
        count = bisect_right(self._notices, self.floor, key=_version)
        kept, self._notices, self._by_name = self._notices[count:], [], {}
        self._add(kept)

    def _add(self, notices: Sequence[Notice]) -> None:
        self._notices += notices
        for notice in notices:
            self._by_name.setdefault(notice.said.about.name, []).append(notice)


def as_change(notice: Notice) -> Change:
    """Return a notice as the change of an Event, for watches."""
    key, new = notice.key, event_of(notice)
    return Change((notice.version, EVENT.resource, notice.namespace, key), None, new, notice.position)


def subject_of(wanted: Mapping[str, str]) -> Key:
    """Return the key of the object whose Events a field selector's equalities ask for; empty where that is no one's."""
    name, kind = wanted.get("involvedObject.name", ""), _BY_KIND.get(wanted.get("involvedObject.kind", ""))
    namespace = wanted.get("involvedObject.namespace") or wanted.get("metadata.namespace", "")
    if kind is None or not name or kind.namespaced != bool(namespace):
        return ""
    return key_of(kind.resource, namespace, name)


def told_of(versions: Iterable[Version]) -> Iterator[Notice]:
    """Yield what an object's own changes mean."""
    for event, old, new in versions:
        resource, namespace, _ = split_key(event.key)
        place = (event.resource_version, resource, namespace, event.key)
        yield from _read(Change(place, old, new, event.position, event.actor.name))


def merged(stored: Sequence[Object], told: Iterable[Notice]) -> list[Object]:
    """Return stored Events and notices as Events, each once, by namespace and name."""
    found = {_place(event): event for event in map(event_of, told)}
    found.update((_place(event), event) for event in stored)
    return [found[place] for place in sorted(found)]


def _read(change: Change) -> list[Notice]:
    """Return what a change means. One that cannot be understood means nothing: it must not keep watches from theirs."""
    try:
        return notices_of(change)
    except (KeyError, TypeError, AttributeError, ValueError):
        _log.exception("no Events follow from a change", key=change.key, version=change.version)
        return []


def _place(event: Object) -> tuple[str, str]:
    return event["metadata"]["namespace"], event["metadata"]["name"]


def _version(notice: Notice) -> Position:
    return notice.version


_BY_KIND = {kind.kind: kind for kind in KINDS}
