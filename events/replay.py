"""The state at any moment of the past: a fold of the log up to there. Pure but for the log that is handed in.

The log says where a fold may begin (`Log.snapshot`), and hands out its old entries as well as its new ones, wherever
they are kept by now.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.codec import decode
from events.fold import apply
from events.log import Gap, Log
from events.snapshots import collecting_nothing
from events.state import Facts, State
from schemas.envelopes import Event
from schemas.errors import BadRequest, LostHistory, Thinned
from schemas.positions import Position, end_of_time, stream_id_of, time_of
from schemas.retention import is_kept
from schemas.times import Milliseconds, rfc3339

CHUNK = 1000


def events_between(log: Log, after: Position, until: Position) -> Iterator[Event]:
    """Yield the events behind `after` up to and including `until`, in order."""
    while True:
        entries = log.read(after, CHUNK, until)
        if not entries:
            return
        yield from map(decode, entries)
        after = entries[-1].position


def replay(
    log: Log,
    until: Position,
    beginning: Facts | None = None,
    resources: frozenset[str] | None = None,
) -> State:
    """Return the state at `until`. A position inside a batch stands for the end of the batch before it.

    The fold begins with the newest snapshot before, or with `beginning`, which it moves: empty Facts check all.
    Where a retention policy has dropped the events of some resources, and all that is asked for (`resources`) are
    others, the state has only objects of others, and no guards or counts that can be relied on.

    Raises BadRequest for a position before the log began, Thinned for one of which what is asked for is not kept,
    LostHistory where the log does not fold.
    """
    with collecting_nothing():
        facts = beginning or log.snapshot(until) or Facts()
        gap = log.gap(facts.position, until)
        if gap is None:
            _fold(log, until, facts)
        elif resources is None or gap.resources & resources:
            raise _thinned_state(gap, until, resources)
        else:
            _fold_others(log, until, facts, gap)
        if facts.position == 0:
            first = log.read(0, 1)
            began = f"it began at {stream_id_of(first[0].position)}" if first else "it is empty"
            raise BadRequest(f"{stream_id_of(until)} is before the log: {began}")
        return State.of(facts)


def _fold(log: Log, until: Position, facts: Facts) -> None:
    pending: list[Event] = []
    for event in events_between(log, facts.position, until):
        pending.append(event)
        if event.offset == event.size - 1:
            for each in pending:
                apply(facts, each)
            pending.clear()


def _fold_others(log: Log, until: Position, facts: Facts, gap: Gap) -> None:
    """Move to the objects at `until` of all resources but those whose events are gone."""
    for key, obj in list(facts.objects.items()):
        if not is_kept(key, gap.resources):
            facts.remove(key, obj)
    for event in _linked(log, facts.position, until, gap):
        if event.resource_version <= until:
            apply(facts, event)
    facts.position = until


def foldable_events(log: Log, after: Position, until: Position, resources: frozenset[str]) -> Iterator[Event]:
    """Yield the events of a stretch for a fold that needs some resources.

    Where those of others are gone, all that are left of these are left out, and each names the one before it here.
    Raises Thinned where some of what is needed are gone.
    """
    check_whole(log, after, until, resources)
    gap = log.gap(after, until)
    return _linked(log, after, until, gap) if gap else events_between(log, after, until)


def _linked(log: Log, after: Position, until: Position, gap: Gap) -> Iterator[Event]:
    """Yield the events of a stretch but those of which some are gone, each naming the one before it here.

    Raises LostHistory where others went meanwhile: what was folded is not to be used.
    """
    last = after
    for event in events_between(log, after, until):
        if is_kept(event.key, gap.resources):
            yield event._replace(after=last)
            last = event.position
    found = log.gap(after, until)
    if found is None or found.resources != gap.resources:
        raise LostHistory("other events were dropped while these were read, by a retention policy: ask again")


def check_whole(log: Log, after: Position, until: Position, resources: frozenset[str] | None = None) -> None:
    """Raise Thinned where events of a stretch are gone, of these resources or of any."""
    gap = log.gap(after, until)
    if gap is not None and (resources is None or gap.resources & resources):
        raise Thinned(
            f"thinned: of {_named(gap, resources)} no events are kept up to {_moment(gap.until)}, only the state at "
            "some moments; begin there or later"
        )


def _thinned_state(gap: Gap, until: Position, resources: frozenset[str] | None) -> Thinned:
    """Return the refusal to tell the state at a moment of which it is not kept; it names the moments next to it."""
    moments = " and ".join(_moment(each) for each in (gap.before, gap.behind) if each)
    return Thinned(
        f"{_moment(until)} is thinned: of {_named(gap, resources)} only the state at some moments is kept, next to it "
        f"at {moments}"
    )


def _named(gap: Gap, resources: frozenset[str] | None) -> str:
    concerned = gap.resources if resources is None else gap.resources & resources
    return " and ".join(sorted(each.partition("/")[2] for each in concerned))


def _moment(position: Position) -> str:
    when = rfc3339(time_of(position))
    return when if position == end_of_time(time_of(position)) else f"{stream_id_of(position)} ({when})"


def position_at(log: Log, moment: Milliseconds) -> Position:
    """Return the position up to which the log had been written at a time (ms since 1970, the log server's clock).

    Raises BadRequest for a time before the log began or behind its server's present.
    """
    first = log.read(0, 1)
    if not first:
        raise BadRequest("the log is empty")
    if end_of_time(moment) < first[0].position:
        raise BadRequest(f"{rfc3339(moment)} is before the log began, at {rfc3339(first[0].position >> 20)}")
    return min(end_of_time(moment), log.last())
