"""The runaway breaker: a controller that keeps writing about one workload, without being told to, is parked.

A log that is kept for ever must not be flooded by a controller and a pod that fight. More than ten events a minute
for each object that the workload owns, or owned in the meantime, within one generation of its spec, parks the key for a
minute: creating 5,000 pods is no runaway, nor is replacing them all at once; creating one twenty times is. What others
write about is never parked: the status of a budget moves with each pod that it counts.
"""

from __future__ import annotations

from collections import deque

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


class Breaker:
    """Counts what one process appended for each key within the last minute, and the most objects that it saw there."""

    def __init__(self) -> None:
        self._appended: dict[tuple[str, Key], deque[tuple[Milliseconds, int]]] = {}
        self._generations: dict[tuple[str, Key], int] = {}
        self._most: dict[tuple[str, Key], int] = {}

    def count(self, controller: str, key: Key, events: int, now: Milliseconds) -> None:
        """Remember that `events` were appended for a key."""
        if events:
            self._appended.setdefault((controller, key), deque()).append((now, events))

    def parked(
        self, controller: str, key: Key, obj: Object | None, state: State, now: Milliseconds
    ) -> Decision | None:
        """Return what to do instead of reconciling, where the key's controller has run away; else None.

        Keys that are not a workload's (a budget's, the scheduler's) are never parked; a new generation begins at zero.
        """
        which = (controller, key)
        if obj is None or obj["kind"] not in _WORKLOADS:
            for known in (self._appended, self._generations, self._most):
                known.pop(which, None)
            return None
        generation = obj["metadata"].get("generation", 0)
        if self._generations.get(which) != generation:
            self._generations[which] = generation
            self._appended.pop(which, None)
        recent = self._appended.setdefault(which, deque())
        while recent and recent[0][0] <= now - WINDOW_MS:
            recent.popleft()
        before = self._most.get(which, FEWEST_OBJECTS) if recent else FEWEST_OBJECTS
        owned = self._most[which] = max(before, state.count_owned(uid_of(obj)))
        written = sum(events for _, events in recent)
        if written <= EVENTS_PER_OBJECT * owned:
            return None
        return Decision(
            waiting_for=f"parked as a runaway: {written} events in a minute for {owned} objects "
            f"(at most {EVENTS_PER_OBJECT} each); it goes on by itself, or at once when its spec changes",
            requeue_at=recent[0][0] + WINDOW_MS + 1,
        )
