"""Thinning: of kinds that a policy does not keep in full for ever, only the states at snapshots stay.

What is thinned is always a beginning of the log, by kind, that ends at a snapshot, and it grows from one snapshot to
the next (a stretch). A stretch is thinned only

* when all of it is older than the policy says, for the kind that is dropped,
* when the stream holds nothing of it any more, and a newer snapshot is there besides the newest: nobody who follows the
  log, starts from a snapshot or falls back to the one before will ever fold it,
* when the snapshot at its end is what a fold of the stretch gives: by then the state there is a fact of its own.

Its segments are written anew without those events, beside the old ones; a manifest that names them makes it so in one
step, as in events.sealing. The old ones go when no manifest that is kept names them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from events.archive import Archive, Manifest, Segment, Thinning, segment_name
from events.archived_log import ArchivedLog
from events.codec import Entry
from events.replay import replay
from events.segments import digest_of, entries_of, pack_thinned, unpack_footer
from events.snapshots import states_differ, unpack_state
from events.state import Facts
from schemas.errors import LostHistory
from schemas.positions import Position, time_of
from schemas.retention import SNAPSHOTS, Retention, is_kept
from schemas.times import Milliseconds

SNAPSHOTS_KEPT_WHOLE = 2
"""So many snapshots, the newest, have everything behind the older of them."""


class Stretch(NamedTuple):
    """What lies between two snapshots, or before the first (`begin` 0), and the resources that are dropped from it."""

    begin: Position
    end: Position
    resources: frozenset[str]


class Thinned(NamedTuple):
    """A segment written anew: its row for the manifest, and its bytes."""

    row: Segment
    content: bytes


def due_stretch(
    manifest: Manifest, retention: Retention, stream_first: Position, now: Milliseconds
) -> Stretch | None:
    """Return the oldest stretch that is to be thinned; None where none is."""
    ends = [each.position for each in manifest.snapshots[: 1 - SNAPSHOTS_KEPT_WHOLE]]
    done = {each.resource: each.until for each in manifest.thinned}
    begin = 0
    for end in ends:
        if end >= stream_first:
            break
        resources = frozenset(
            resource
            for resource, period in retention.keep.items()
            if resource != SNAPSHOTS and done.get(resource, 0) < end and time_of(end) <= now - period
        )
        if resources:
            return Stretch(begin, end, resources)
        begin = end
    return None


def check_stretch(log: ArchivedLog, stretch: Stretch) -> None:
    """Raise LostHistory where the snapshot at the end of a stretch is not what a fold of the stretch gives."""
    rows = {each.position: each for each in log.archive.manifest.snapshots}
    states = []
    for position in (stretch.begin, stretch.end):
        row = rows.get(position)
        content = log.archive.content(row.name, row.digest) if row else b""
        states.append(unpack_state(content, row.name) if row else Facts())
    gap = log.gap(stretch.begin, stretch.end)
    folded = replay(log, stretch.end, states[0], frozenset())
    if what := states_differ(folded, states[1], gap.resources if gap else frozenset()):
        raise LostHistory(
            f"snapshot {rows[stretch.end].name} differs from a replay in {what}: nothing before it is thinned",
            stretch.end,
        )


def thinned_segment(
    archive: Archive, segment: Segment, resources: frozenset[str], number: int
) -> Thinned | None:
    """Return a segment without the events of some resources, for the manifest `number`; None where it has none.

    Raises LostHistory where it is damaged.
    """
    content = archive.content(segment.name, segment.digest)
    entries = entries_of(content)
    kept = [each for each in entries if is_kept(each.key, resources)]
    if len(kept) == len(entries):
        return None
    packed = pack_thinned(kept, unpack_footer(content, segment.name), segment.digest)
    _check_exact(packed.content, kept, segment)
    return Thinned(
        replace(
            segment,
            name=segment_name(segment.first, packed.content, number),
            events=len(kept),
            bytes=len(packed.content),
            digest=digest_of(packed.content),
            dropped=packed.footer.dropped,
            original=packed.footer.original,
        ),
        packed.content,
    )


def with_thinned(
    manifest: Manifest,
    stretch: Stretch,
    segments: Sequence[Segment],
    retention: Retention,
    now: Milliseconds,
) -> Manifest:
    """Return the manifest by which a stretch is thinned; `segments` take the place of those that begin as they do."""
    by_first = {each.first: each for each in segments}
    rows = tuple(
        Thinning(resource, stretch.end, retention.position, retention.keep[resource], now)
        for resource in sorted(stretch.resources)
    )
    return replace(
        manifest,
        number=manifest.number + 1,
        segments=tuple(by_first.get(each.first, each) for each in manifest.segments),
        thinned=(*(each for each in manifest.thinned if each.resource not in stretch.resources), *rows),
    )


def _check_exact(content: bytes, kept: Sequence[Entry], segment: Segment) -> None:
    if entries_of(content) != list(kept):
        raise LostHistory(f"segment {segment.name} cannot be thinned exactly", segment.first)
