"""Objects kept up with the log: at first as the projections show them, then event by event.

Whoever watches a cluster needs neither the whole log nor a State of everything: the projections are a State at a
position, and the log goes on from there.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Protocol

from events.codec import Entry, decode
from events.fold import apply
from events.log import Log
from events.replica import Applied
from events.state import Objects, State
from schemas.envelopes import CREATE, LOG_KEY, Event
from schemas.errors import LostHistory, Unavailable
from schemas.objects import Key, key_of_object, split_key
from schemas.positions import Position, stream_id_of

CHUNK = 1000
"""Entries in one read."""
_PAUSE = 0.1


class Projections(Protocol):
    """The part of services.projections.reader.Views that is needed."""

    def position(self) -> Position: ...

    def list(self, resource: str) -> Objects: ...


class Following:
    """The objects of some resources, as of `state.position`. Raises what the views raise when it is made."""

    def __init__(self, log: Log, views: Projections, resources: Iterable[str]) -> None:
        self.state = State()
        self._log = log
        self._resources = frozenset(resources)
        self.state.position = views.position()
        for resource in self._resources:
            for obj in views.list(resource):
                self.state.put(key_of_object(obj), None, obj)
        self._shown = views.position()

    def next(self, timeout: float, patience: float = 0.0) -> list[Applied]:
        """Return what happened, waiting up to `timeout` seconds for something to happen.

        Events of other resources come without objects. Raises LostHistory where the log does not go on from what was
        seen of it, Unavailable where its server is away for longer than `patience` seconds.
        """
        deadline = time.monotonic() + patience
        while True:
            try:
                return [self._take(entry) for entry in self._log.follow(self.state.position, CHUNK, timeout)]
            except Unavailable:
                if time.monotonic() >= deadline:
                    raise
                time.sleep(_PAUSE)

    def _take(self, entry: Entry) -> Applied:
        event, state = decode(entry), self.state
        if event.after != state.position:
            here, there = stream_id_of(event.after), stream_id_of(state.position)
            raise LostHistory(
                f"the log goes on from {here}, not from {there} that was seen last", state.position
            )
        if not self._is_followed(event.key) or self._is_shown(event):
            state.position = event.position
            return Applied(event, None, None)
        old = state.objects.get(event.key)
        apply(state, event)
        return Applied(event, old, state.objects.get(event.key))

    def _is_followed(self, key: Key) -> bool:
        return key != LOG_KEY and split_key(key)[0] in self._resources

    def _is_shown(self, event: Event) -> bool:
        """Say whether the projections had this event already when they were read, a little after their position."""
        if event.position > self._shown:
            return False
        found = self.state.objects.get(event.key)
        if found is None:
            return event.op != CREATE
        return int(found["metadata"]["resourceVersion"]) >= event.resource_version


def last_entries(log: Log, count: int, last: Position) -> list[Entry]:
    """Return the `count` entries up to `last`, oldest first: each names the one before it, so the way back is known."""
    entries: list[Entry] = []
    while len(entries) < count and last:
        found = log.read(last - 1, 1, last)
        if not found:
            break
        entries.append(found[0])
        last = found[0].after
    return entries[::-1]
