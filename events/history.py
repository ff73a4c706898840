"""The log's memory, for whoever asks about the past: any moment, any stretch, any object, any actor.

It reads snapshots, sealed segments and the live stream; who asks need not know which.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from events.archive import Archive, Thinning
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.codec import Entry, decode
from events.fold import folded
from events.log import Log
from events.replay import CHUNK, events_between, position_at, replay
from events.segments import BLOCK, unpack_some
from events.state import State
from schemas.envelopes import CREATE, DELETE, REPLACE, Event
from schemas.objects import Key, Object, resource_of
from schemas.positions import Position
from schemas.times import Milliseconds


class Version(NamedTuple):
    """A change of an object: the event, and the object before and after it (None where it did not exist)."""

    event: Event
    old: Object | None
    new: Object | None


class Difference(NamedTuple):
    """An object that is not the same at two moments (None where it does not exist)."""

    key: Key
    old: Object | None
    new: Object | None


class History:
    """Reads the past of a log. Thread-safe where the log is."""

    def __init__(self, log: Log, index: ArchiveIndex | None = None) -> None:
        """`log` may be an ArchivedLog; then `index` finds an object's entries in its archive without reading all."""
        self.log = log
        self._archive: Archive | None = log.archive if isinstance(log, ArchivedLog) else None
        self._index = index or ArchiveIndex(None)

    def position_at(self, moment: Milliseconds) -> Position:
        """Return the position up to which the log was written at a time. Raises BadRequest for another one's."""
        return position_at(self.log, moment)

    def state_at(self, position: Position, resources: frozenset[str] | None = None) -> State:
        """Return the state at a position; inside a batch: at the end of the batch before.

        Raises BadRequest before the log began, LostHistory where it cannot be read; that names the segment or position.
        Raises Thinned where a policy keeps only some moments of it, or of one of the `resources` that are asked about:
        of others the state then has all objects, and of thinned ones none.
        """
        return replay(self.log, position, resources=resources)

    def beginning_of(self, key: Key) -> Object | None:
        """Return an object as it was where its thinned part ends; None where it was not there, or all is kept."""
        until = self._archive.refresh().thinned_until(key) if self._archive else 0
        return replay(self.log, until).get(key) if until else None

    def thinned(self) -> tuple[Thinning, ...]:
        """Return of which resources events are dropped by now, and up to where."""
        return self._archive.refresh().thinned if self._archive else ()

    def events_between(self, after: Position, until: Position) -> Iterator[Event]:
        """Yield the events behind `after` up to and including `until`, in order."""
        return events_between(self.log, after, until)

    def events_of(
        self,
        after: Position,
        until: Position,
        has_key: Callable[[Key], bool],
        has_actor: Callable[[str], bool] | None = None,
    ) -> Iterator[Event]:
        """Yield the events of a stretch, in order, among which are all of such keys by such actors (None: by any).

        Actors go by name. Sealed blocks in which there are none are not read: the index knows who wrote where, and a
        segment what it holds.
        """
        archive = self._archive
        manifest = archive.refresh() if archive else None
        if archive is not None and manifest is not None and manifest.end > after:
            for number, blocks in self._blocks(archive, after, until, has_actor):
                segment = manifest.segments[number]
                objects = archive.contents(segment).objects
                held = {at // BLOCK for key, found in objects.items() if has_key(key) for at in found}
                for block in sorted(held if blocks is None else held & blocks):
                    entries = archive.block(segment, block)
                    yield from (decode(each) for each in entries if after < each.position <= until)
            after = manifest.end
        if after < until:
            yield from events_between(self.log, after, until)

    def _blocks(
        self, archive: Archive, after: Position, until: Position, has_actor: Callable[[str], bool] | None
    ) -> Iterator[tuple[int, set[int] | None]]:
        """Yield the segments of a stretch in which such actors wrote, by number, with the blocks; None: any."""
        manifest = archive.manifest
        end = bisect_right(manifest.segments, until, key=lambda each: each.first)
        numbers = range(manifest.segment_behind(after), end)
        if has_actor is None:
            return ((number, None) for number in numbers)
        return iter(self._index.blocks_by(archive, numbers, has_actor))

    def changes_of(self, key: Key, limit: int, until: Position | None = None) -> list[Event]:
        """Return the last `limit` events of an object up to `until`, oldest first; also of one that is gone.

        All objects that ever had this name are meant: a new uid begins with a `create`.
        """
        return list(islice(self._backwards(key, until), limit))[::-1]

    def versions_of(self, key: Key, limit: int, until: Position | None = None) -> list[Version]:
        """Return the last `limit` changes of an object with the object before and after each, oldest first."""
        events: list[Event] = []
        for event in self._backwards(key, until):
            events.append(event)
            is_whole = event.op in (CREATE, REPLACE, DELETE) and len(events) > limit
            if is_whole or (event.op == CREATE and len(events) == limit):
                break
        else:
            first = events[-1] if events else None
            if first is not None and first.op != CREATE:
                return _versions(events[::-1], self.beginning_of(key))[-limit:]
        return _versions(events[::-1])[-limit:]

    def differences(
        self, one: Position, other: Position, resources: frozenset[str] | None = None
    ) -> list[Difference]:
        """Return every object that is not the same at two positions, by key; of some resources, or of all.

        Raises as `state_at` does.
        """
        first, second = sorted((one, other))
        before = self.state_at(first, resources)
        has_snapshot = self._archive is not None and self._archive.newest_snapshot(second) > before.position
        if has_snapshot or self.log.gap(0, second):
            after = self.state_at(second, resources)
        else:
            after = replay(self.log, second, before.facts())
        found = differences(before, after) if one <= other else differences(after, before)
        return [each for each in found if resources is None or resource_of(each.key) in resources]

    def _backwards(self, key: Key, until: Position | None) -> Iterator[Event]:
        archive = self._archive
        end = archive.refresh().end if archive else 0
        live = (entry for entry in self._live(end, until) if entry.key == key)
        yield from map(decode, reversed(list(live)))
        if archive is None or not end:
            return
        for place in self._index.places_of(archive, key):
            packed = archive.part(place.segment, place.start, place.length)
            for entry in reversed(unpack_some(packed, place.ordinals, place.segment)):
                if until is None or entry.position <= until:
                    yield decode(entry)

    def _live(self, after: Position, until: Position | None) -> Iterator[Entry]:
        """Yield the entries that are not sealed: hardly more than one segment has."""
        last = self.log.last() if until is None else until
        while after < last and (entries := self.log.read(after, CHUNK, last)):
            yield from entries
            after = entries[-1].position


def differences(one: State, other: State) -> list[Difference]:
    """Return every object that is not the same in two states, by key."""
    found = []
    for key in one.objects.keys() | other.objects.keys():
        old, new = one.objects.get(key), other.objects.get(key)
        if old is not new and _version(old) != _version(new):
            found.append(Difference(key, old, new))
    return sorted(found, key=lambda each: each.key)


def _version(obj: Object | None) -> tuple[str, str] | None:
    return (obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]) if obj else None


def _versions(events: list[Event], known: Object | None = None) -> list[Version]:
    """Return what each event made of its object, `known` at first; what is before the first whole one is left out."""
    versions: list[Version] = []
    is_known = known is not None
    for event in events:
        is_known = is_known or event.op in (CREATE, REPLACE, DELETE)
        new = None if event.op == DELETE else folded(event, known) if is_known else None
        if is_known:
            versions.append(Version(event, known, new))
        known = new
    return versions
