"""Where a build of the projections begins: with the log, or, where that is long or thinned, with a snapshot.

A snapshot has every object, and so everything that objects alone tell. What only events tell is kept for workloads and
their revisions (rollouts, revisions that are gone, changes), whose events are few: they are read from the archive, one
segment's contents after the other. Lists of changes of all other objects begin at the snapshot: `since` in the
checkpoint. A log of up to `MOST_EVENTS` is read from its first event on, and nothing is missing.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.archive import Manifest
from events.archived_log import ArchivedLog
from events.codec import decode
from events.fold import folded
from events.log import Log
from events.replica import Applied
from events.state import State
from schemas.envelopes import DELETE
from schemas.errors import LostHistory
from schemas.kinds import CONTROLLER_REVISION, DAEMON_SET, STATEFUL_SET
from schemas.objects import Key, Object, resource_of
from schemas.patching import strictly_equal
from schemas.positions import Position

MOST_EVENTS = 500_000
"""Before the snapshot: some ten seconds' worth."""
RECENT_EVENTS = 100_000
"""Behind the snapshot at least: of these each object's changes are listed."""
_TOLD = frozenset({STATEFUL_SET.resource, DAEMON_SET.resource, CONTROLLER_REVISION.resource})


def beginning_of(log: Log) -> State:
    """Return the state that a build begins with: an empty one, or a snapshot's. Raises LostHistory, Unavailable."""
    if not isinstance(log, ArchivedLog):
        return State()
    manifest = log.archive.refresh()
    wanted = _recent(manifest)
    before = sum(each.events for each in manifest.segments[: manifest.segment_behind(wanted)])
    if before <= MOST_EVENTS and not manifest.thinned:
        return State()
    found = log.snapshot(max([wanted, *(each.until for each in manifest.thinned)]))
    return State.of(found) if found else State()


def standing_objects(log: Log, state: State) -> Iterator[tuple[Key, Object]]:
    """Yield the objects of a beginning of which no more is told than what they are themselves."""
    resources = _told_of(log)
    return ((key, obj) for key, obj in state.objects.items() if resource_of(key) not in resources)


def told_events(log: Log, state: State) -> Iterator[Applied]:
    """Yield the events, up to a beginning, of all other objects. Raises LostHistory where they do not lead there."""
    if not isinstance(log, ArchivedLog) or not state.position:
        return
    resources = _told_of(log)
    told: dict[Key, Object] = {}
    for entry in log.archive.entries_of(resources, state.position):
        event = decode(entry)
        old = told.pop(event.key, None)
        new = None if event.op == DELETE else folded(event, old)
        if new is not None:
            told[event.key] = new
        yield Applied(event, old, new)
    there = {key: obj for key, obj in state.objects.items() if resource_of(key) in resources}
    if not strictly_equal(told, there):
        raise LostHistory(
            "workloads and revisions are not in the snapshot what their events say", state.position
        )


def _told_of(log: Log) -> frozenset[str]:
    thinned = log.archive.manifest.thinned if isinstance(log, ArchivedLog) else ()
    return _TOLD - {each.resource for each in thinned}


def _recent(manifest: Manifest) -> Position:
    """Return the position behind which the archive has `RECENT_EVENTS`; 0 where it has fewer."""
    count = 0
    for segment in reversed(manifest.segments):
        count += segment.events
        if count >= RECENT_EVENTS:
            return segment.after
    return 0
