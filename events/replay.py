"""The state at any moment of the past: a fold of the log up to there. Pure but for the log that is handed in.

The log says where a fold may begin (`Log.snapshot`), and hands out its old entries as well as its new ones, wherever
they are kept by now.
"""

from __future__ import annotations

from collections.abc import Iterator

from events.codec import decode
from events.fold import apply, whole_batches
from events.log import Log
from events.snapshots import collecting_nothing
from events.state import State
from schemas.envelopes import Event
from schemas.errors import BadRequest
from schemas.positions import Position, end_of_time, stream_id_of
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


def replay(log: Log, until: Position, beginning: State | None = None) -> State:
    """Return the state at `until`. A position inside a batch stands for the end of the batch before it.

    The fold begins with the newest snapshot before, or with `beginning`, which it moves: an empty State checks all.

    Raises BadRequest for a position before the log began, LostHistory where the log does not fold.
    """
    with collecting_nothing():
        state = beginning or log.snapshot(until) or State()
        pending: list[Event] = []
        for event in events_between(log, state.position, until):
            pending.append(event)
            if whole_batches(pending):
                for each in pending:
                    apply(state, each)
                pending = []
    if state.position == 0:
        first = log.read(0, 1)
        began = f"it began at {stream_id_of(first[0].position)}" if first else "it is empty"
        raise BadRequest(f"{stream_id_of(until)} is before the log: {began}")
    return state


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
