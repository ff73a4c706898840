"""The runaway breaker: a controller that keeps writing about one workload, without being told to, is parked.

A log that is kept for ever must not be flooded by a controller and a pod that fight. More than ten events a minute
for each object that the workload owns, or owned in the meantime, within one generation of its spec, parks the key for a
minute: creating 5,000 pods is no runaway, nor is replacing them all at once; creating one twenty times is. What others
write about is never parked: the status of a budget moves with each pod that it counts.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from events.state import State
from schemas.changes import Decision
from schemas.kinds import WORKLOADS
from schemas.objects import Key, Object, uid_of
from schemas.times import Milliseconds

EVENTS_PER_OBJECT = 10
WINDOW_MS = 60_000
FEWEST_OBJECTS = 3
"""A set of one pod owns that pod, a revision and a claim: it may write 30 events a minute."""
_WORKLOADS = tuple(kind.kind for kind in WORKLOADS)


@dataclass(slots=True)
class _Tally:
    """What was appended for a key within a generation and the last minute, and the most objects seen there."""

    generation: int
    recent: deque[tuple[Milliseconds, int]] = field(default_factory=deque)
    written: int = 0
    most: int = FEWEST_OBJECTS

    def forget(self, until: Milliseconds) -> None:
        while self.recent and self.recent[0][0] <= until:
            self.written -= self.recent.popleft()[1]
        if not self.recent:
            self.most = FEWEST_OBJECTS


class Breaker:
    """Counts what one process appended for each key."""

    def __init__(self) -> None:
        self._tallies: dict[tuple[str, Key], _Tally] = {}

    def count(self, controller: str, key: Key, events: int, now: Milliseconds) -> None:
        """Remember that `events` were appended for a key that was asked about before."""
        tally = self._tallies.get((controller, key))
        if events and tally is not None:
            tally.recent.append((now, events))
            tally.written += events

    def parked(
        self, controller: str, key: Key, obj: Object | None, state: State, now: Milliseconds
    ) -> Decision | None:
        """Return what to do instead of reconciling, where the key's controller has run away; else None.

        Keys that are not a workload's (a budget's, the scheduler's) are never parked; a new generation begins at zero.
        """
        which = (controller, key)
        if obj is None or obj["kind"] not in _WORKLOADS:
            self._tallies.pop(which, None)
            return None
        generation = obj["metadata"].get("generation", 0)
        tally = self._tallies.get(which)
        if tally is None or tally.generation != generation:
            tally = self._tallies[which] = _Tally(generation)
        tally.forget(now - WINDOW_MS)
        owned = tally.most = max(tally.most, state.count_owned(uid_of(obj)))
        if tally.written <= EVENTS_PER_OBJECT * owned:
            return None
        return Decision(
            waiting_for=f"parked as a runaway: {tally.written} events in a minute for {owned} objects "
            f"(at most {EVENTS_PER_OBJECT} each); it goes on by itself, or at once when its spec changes",
            requeue_at=tally.recent[0][0] + WINDOW_MS + 1,
        )
