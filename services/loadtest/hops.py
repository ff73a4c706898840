"""How long a hop took: from the append of an event to the beginning of the reconcile that it called for. Pure."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from typing import Any

from events.fold import apply
from events.state import State
from schemas.envelopes import Event
from schemas.objects import Key
from schemas.positions import Position
from services.controllers.controller import Controller
from services.loadtest.statistics import Moment
from services.loadtest.traces import Beginning

Calls = dict[tuple[str, Key], deque[Position]]
"""(controller, key) -> positions of the events that called for a look at it, in order."""


def calls_of(events: Iterable[Event], controllers: Iterable[Controller[Any]]) -> Calls:
    """Return what the events of a log, from its beginning, called for by the controllers' own triggers."""
    controllers = tuple(controllers)
    state = State()
    calls: Calls = defaultdict(deque)
    for event in events:
        old = state.get(event.key)
        apply(state, event)
        new = state.get(event.key)
        if old is None and new is None:
            continue
        for controller in controllers:
            for key in set(controller.triggers(state, old, new)):
                calls[controller.name, key].append(event.position)
    return calls


def hops(calls: Calls, begun: Iterable[Beginning], epoch_ns: int) -> list[Moment]:
    """Return the hops: (milliseconds since 1970 at which one ended, how many it took).

    A hop is each beginning against the oldest event that it is the first to see.

    `epoch_ns` is the wall clock where time.monotonic_ns is 0. A position tells its time in whole milliseconds, so a
    hop is up to 1 ms too long.
    """
    waiting = {which: deque(positions) for which, positions in calls.items()}
    found = []
    for beginning in sorted(begun, key=lambda each: each.at):
        positions = waiting.get((beginning.controller, beginning.key))
        if not positions or positions[0] > beginning.position:
            continue
        ended = (beginning.at + epoch_ns) / 1e6
        found.append((ended, max(0.0, ended - (positions[0] >> 20))))
        while positions and positions[0] <= beginning.position:
            positions.popleft()
    return found
