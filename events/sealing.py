"""Sealing: the log's older part moves into the archive, and only then out of the stream.

Each step leaves the archive and the log complete, so whoever dies between two of them has done no harm:

1. entries that follow the archive's end, whole batches, are packed into a segment: whatever does not decode, or does
   not follow from the entry before, is not sealed;
2. the segment is written durably and read back;
3. so is a manifest that names it;
4. the log's server lets that manifest hold, if this is still the historian (`Sealable.switch`);
5. likewise a snapshot, where one is due;
6. segments that are sealed and that the stream need not keep are dropped from it, one at a time.

What a writer that died left behind is swept by the next one: files that no manifest names which the log's server may
name again, and behind which its own has gone. Thinning (events.thinning) goes by the same steps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from events.archive import (
    MANIFESTS,
    SEGMENTS,
    SNAPSHOTS,
    Archive,
    Manifest,
    Segment,
    Snapshot,
    manifest_name,
    number_in,
    number_of,
    pack_manifest,
    segment_name,
    snapshot_name,
    unpack_manifest,
)
from events.archive_index import ArchiveIndex
from events.archived_log import ArchivedLog
from events.codec import Entry, decode
from events.log import MAX_EVENTS, Sealable, Sealed
from events.replay import replay
from events.segments import digest_of, entries_of, pack_segment
from events.snapshots import pack_state, unpack_state
from events.sparseness import neighbours, surplus_snapshots, without_snapshots
from events.stores import Folder, Store
from events.thinning import Stretch, check_stretch, due_stretch, thinned_segment, with_thinned
from schemas.errors import LostHistory, NotFound, Unavailable
from schemas.positions import Position, position_of, stream_id_of, time_of
from schemas.retention import Retention
from schemas.times import Milliseconds

CHUNK = 1000
FEWEST_EVENTS = 5_000
"""Events between two snapshots, at least."""
SNAPSHOT_SHARE = 3
"""A snapshot is due when the log since the last one is a third as large: what is folded behind it
takes less time than it does itself, also where it is a segment more."""
KEPT_MANIFESTS = 10
"""Also those that a log server that lost its last second would name again."""


@dataclass(frozen=True, slots=True)
class Limits:
    """When what is sealed: a segment of so many events, or an older one of fewer; what stays in the stream anyway."""

    segment_events: int = 5_000
    segment_age: Milliseconds = 3_600_000
    stream_events: int = 100_000


class Outrun(Exception):
    """Another historian has taken over."""


class Sealer:
    """Seals a log into a store, as long as no other takes over. Not thread-safe."""

    def __init__(
        self, log: Sealable, store: Store, limits: Limits, index: ArchiveIndex | None = None
    ) -> None:
        self.archive = Archive(store, lambda: log.sealed().manifest)
        self._log = log
        self._store = store
        self._limits = limits
        self._index = index or ArchiveIndex(None)
        self._epoch = 0
        self._manifest = Manifest("", "")
        self._pending: list[Entry] = []
        self._names: deque[str] = deque()
        self._unnamed: deque[tuple[int, str]] = deque()

    @property
    def manifest(self) -> Manifest:
        """The manifest that holds, as far as this sealer knows."""
        return self._manifest

    @property
    def sealed_time(self) -> Milliseconds:
        """When the last event that is sealed was written, by the log server's clock; 0 where none is."""
        return time_of(self._manifest.end)

    def open(self) -> None:
        """Take over. Raises LostHistory where the archive is damaged or of another log, Unavailable."""
        self._epoch = self._log.take_over()
        log_id, found = self._log.log_id(), self.archive.refresh()
        if found.log not in ("", log_id):
            raise LostHistory(f"the archive {self._store.place} is of log {found.log}, not {log_id}")
        self._manifest = found if found.log else Manifest(log_id, self._log.cluster)
        self._pending = []
        self._sweep()
        self._index.add(self.archive)

    def look(self, now: Milliseconds, go_on: Callable[[], bool] = lambda: True) -> int:
        """Seal and trim what is due; return how many events were sealed. `go_on` is asked before each segment.

        Raises Outrun, Unavailable (a full disk too), LostHistory where the log is broken. Nothing is lost then.
        """
        count = 0
        while go_on() and (entries := self._due(now)):
            self._seal(entries)
            self._index.add(self.archive)
            count += len(entries)
            self._keep_state()
        self._trim()
        return count

    def thin(self, retention: Retention, now: Milliseconds, go_on: Callable[[], bool] = lambda: True) -> int:
        """Thin what a policy does not keep in full any more `now`, snapshots too; return how many events were dropped.

        Raises as `look` does; LostHistory also where a snapshot is not what a fold gives. Nothing is lost then.
        """
        count = 0
        while go_on() and (stretch := due_stretch(self._manifest, retention, self._log.held()[0], now)):
            count += self._thin(stretch, retention, now)
        if surplus := surplus_snapshots(self._manifest, retention, now):
            self._drop(surplus, retention, now)
        return count

    def _drop(self, surplus: Sequence[Snapshot], retention: Retention, now: Milliseconds) -> None:
        """Let the manifest name some snapshots no more. Those beside them are as they were written, or none goes."""
        after = without_snapshots(self._manifest, surplus, retention, now)
        for row in neighbours(after, surplus):
            self.archive.content(row.name, row.digest)
        self._switch(after)
        self._unnamed += [(self._manifest.number, each.name) for each in surplus]

    def _thin(self, stretch: Stretch, retention: Retention, now: Milliseconds) -> int:
        before = self._manifest
        check_stretch(ArchivedLog(self._log, self.archive), stretch)
        within = before.segments[before.segment_behind(stretch.begin) : before.segment_behind(stretch.end)]
        number = before.number + 1
        found = [(each, thinned_segment(self.archive, each, stretch.resources, number)) for each in within]
        changed = [(old, new) for old, new in found if new is not None]
        for _, new in changed:
            self._put(new.row.name, new.content)
        rows = [new.row for _, new in changed]
        self._switch(with_thinned(before, stretch, rows, retention, now))
        self._unnamed += [(self._manifest.number, old.name) for old, _ in changed]
        self._index.add(self.archive)
        return sum(new.row.dropped - old.dropped for old, new in changed)

    def _due(self, now: Milliseconds) -> Sequence[Entry]:
        """Return the whole batches that are to be the next segment; none where it is not time yet.

        A batch is appended at once, and fits behind what a segment should have: where it begins its end is there too.
        """
        limits, pending = self._limits, self._pending
        most = limits.segment_events + MAX_EVENTS
        while len(pending) < most:
            after = pending[-1].position if pending else self._manifest.end
            entries = self._log.read(after, min(CHUNK, most - len(pending)))
            if not entries:
                break
            pending += entries
        if not pending:
            return ()
        is_old = now - time_of(pending[0].position) >= limits.segment_age
        if len(pending) < limits.segment_events and not is_old:
            return ()
        count = min(len(pending), limits.segment_events)
        while count < len(pending) and not _ends_batch(pending[count - 1]):
            count += 1
        return pending[:count]

    def _seal(self, entries: Sequence[Entry]) -> None:
        before = self._manifest
        if entries[0].after != before.end:
            first = stream_id_of(entries[0].position)
            raise LostHistory(
                f"the archive ends at {stream_id_of(before.end)}, the log goes on at {first} behind "
                f"{stream_id_of(entries[0].after)}: entries are missing",
                entries[0].position,
            )
        packed = pack_segment(entries, before.log, before.digest)
        if entries_of(packed.content) != list(entries):
            raise LostHistory(
                f"{stream_id_of(entries[0].position)} and what follows cannot be sealed exactly"
            )
        name = segment_name(entries[0].position, packed.content)
        self._put(name, packed.content)
        size, digest = len(packed.content), digest_of(packed.content)
        _, _, after, first_position, last, events, *_ = packed.footer
        self._switch(before.with_segment(Segment(name, after, first_position, last, events, size, digest)))
        del self._pending[: len(entries)]

    def _keep_state(self) -> None:
        """Take a snapshot at the archive's end, where one is due."""
        manifest = self._manifest
        known = manifest.snapshots[-1] if manifest.snapshots else None
        since = manifest.segments[manifest.segment_behind(known.position if known else 0) :]
        events, size = sum(each.events for each in since), sum(each.bytes for each in since)
        if events < FEWEST_EVENTS or (known and size * SNAPSHOT_SHARE < known.bytes):
            return
        state = replay(ArchivedLog(self._log, self.archive), manifest.end)
        content = pack_state(state)
        name = snapshot_name(state.position, state.log_id, content)
        unpack_state(content, name)
        self._put(name, content)
        row = Snapshot(name, state.position, len(state.objects), len(content), digest_of(content))
        self._switch(manifest.with_snapshot(row))

    def _switch(self, manifest: Manifest) -> None:
        content = pack_manifest(manifest)
        name = manifest_name(manifest.number, content)
        self._put(name, content)
        if not self._log.switch(self._epoch, Sealed(name, manifest.end)):
            raise Outrun
        self._manifest = manifest
        self._names.append(name)
        while len(self._names) > KEPT_MANIFESTS:
            self._store.delete(self._names.popleft())
        while self._unnamed and self._unnamed[0][0] + KEPT_MANIFESTS <= manifest.number:
            self._store.delete(self._unnamed.popleft()[1])
        self.archive.refresh()

    def _trim(self) -> None:
        """Drop sealed segments from the stream's beginning, as long as it keeps as many entries as it should."""
        first, count = self._log.held()
        last = self._log.last()
        for segment in self._manifest.segments[self._manifest.segment_behind(first - 1) :]:
            count -= segment.events
            if count < self._limits.stream_events or segment.last >= last:
                return
            if not self._log.trim(self._epoch, segment.last):
                raise Outrun

    def _put(self, name: str, content: bytes) -> None:
        self._store.put(name, content)
        if self._store.get(name) != content:
            raise Unavailable(f"the archive {self._store.place} does not return {name} as it was written")

    def _sweep(self) -> None:
        """Remove what no manifest needs: only what lies behind our own, so that an outrun writer takes nothing new."""
        manifest, store = self._manifest, self._store
        kept = (manifest, *self._kept())
        named = {each.name for one in kept for each in one.segments}
        named |= {each.name for one in kept for each in one.snapshots}
        for folder in (SEGMENTS, SNAPSHOTS):
            for name in store.names(folder):
                is_ours = _position_in(name) < manifest.end and number_in(name) <= manifest.number
                if name not in named and is_ours:
                    store.delete(name)
        for name in store.names(MANIFESTS):
            if number_of(name) + KEPT_MANIFESTS <= manifest.number:
                store.delete(name)
        self._names = deque(name for name in store.names(MANIFESTS) if number_of(name) <= manifest.number)
        self._unnamed = deque()
        if isinstance(store, Folder):
            store.sweep()

    def _kept(self) -> Iterator[Manifest]:
        """Yield the manifests before our own that the log's server may name again, as far as they can be read."""
        for name in self._store.names(MANIFESTS):
            if self._manifest.number - KEPT_MANIFESTS < number_of(name) < self._manifest.number:
                with suppress(LostHistory, NotFound):
                    yield unpack_manifest(self._store.get(name), name)


def _ends_batch(entry: Entry) -> bool:
    event = decode(entry)
    return event.offset == event.size - 1


def _position_in(name: str) -> Position:
    """Return the position that a segment's or a snapshot's name begins with; one that is not ours is never swept."""
    try:
        return position_of("-".join(name.rpartition("/")[2].split("-")[:2]))
    except ValueError:
        return 1 << 63
