"""Sparseness: of snapshots that a policy does not keep for ever only so many stay that any moment is told soon.

A snapshot is what a fold of the events before it gives, so without it nothing is lost but time, where events are kept.
Where they are not (events.thinning), states at snapshots are all that is known. So of two that stay, neighbours, the
later one is never

* more than a day behind the earlier one, unless there was none between them,
* behind more of the log than twice its own size: a moment between them is told in at most three times the time that its
  snapshot takes to read, whatever the log's length.

The first stays, so do those at which a thinned stretch ends, and the newest, by which all who follow the log begin.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

from events.archive import Manifest, Snapshot, Thinning
from schemas.positions import time_of
from schemas.retention import DAY, SNAPSHOTS, Retention
from schemas.times import Milliseconds

NEWEST_KEPT = 2
"""The newest is what all begin with, the one before it what they fall back to."""
SPARSE_SHARE = 2
"""The log between two snapshots that stay is at most so many times as large as the later one."""


def surplus_snapshots(manifest: Manifest, retention: Retention, now: Milliseconds) -> tuple[Snapshot, ...]:
    """Return the snapshots that are to go, by a policy; none where it says nothing of snapshots."""
    period = retention.keep.get(SNAPSHOTS)
    if period is None:
        return ()
    rows = manifest.snapshots
    sizes = [0, *accumulate(each.bytes for each in manifest.segments)]
    fixed = {each.until for each in manifest.thinned}
    surplus: list[Snapshot] = []
    last = 0
    for at in range(1, len(rows) - NEWEST_KEPT):
        row, behind, before = rows[at], rows[at + 1], rows[last]
        is_old = time_of(row.position) <= now - period
        is_near = time_of(behind.position) - time_of(before.position) <= DAY
        begin, end = (manifest.segment_behind(each.position) for each in (before, behind))
        is_little = sizes[end] - sizes[begin] <= SPARSE_SHARE * behind.bytes
        if is_old and is_near and is_little and row.position not in fixed:
            surplus.append(row)
        else:
            last = at
    return tuple(surplus)


def without_snapshots(
    manifest: Manifest, surplus: Sequence[Snapshot], retention: Retention, now: Milliseconds
) -> Manifest:
    """Return the manifest in which some snapshots are no more, by the policy that says so."""
    gone = {each.position for each in surplus}
    before = manifest.sparse.until if manifest.sparse else 0
    until = max(before, *gone)
    return replace(
        manifest,
        number=manifest.number + 1,
        snapshots=tuple(each for each in manifest.snapshots if each.position not in gone),
        sparse=Thinning(SNAPSHOTS, until, retention.position, retention.keep[SNAPSHOTS], now),
    )


def neighbours(manifest: Manifest, gone: Sequence[Snapshot]) -> tuple[Snapshot, ...]:
    """Return the snapshots that stay beside those that are gone: from these their moments are told."""
    found: dict[str, Snapshot] = {}
    for row in gone:
        at = len(manifest.snapshots_until(row.position))
        found |= {each.name: each for each in manifest.snapshots[at - 1 : at + 1]}
    return tuple(found.values())
