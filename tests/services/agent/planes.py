"""Control planes to test with: the fake, and the event store's adapters over a log in memory."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from events.codec import decode
from events.commit import Committer, Edges, Intent, Proposal
from events.log import Appended, Batch
from events.memory import MemoryLog
from events.replica import Replica
from schemas.changes import Change, Create, Replace
from schemas.envelopes import Actor, Event
from schemas.errors import Unavailable
from schemas.objects import Object, key_of_object
from services.agent.event_store import BatchEventStore, EventStore
from tests.events.worlds import a_namespace
from tests.services.agent.fakes import MemoryControlPlane


class FrailLog(MemoryLog):
    """A log that can be cut off."""

    is_cut_off = False

    def append(self, batch: Batch) -> Appended:
        if self.is_cut_off:
            raise Unavailable("gone")
        return super().append(batch)

    def break_off(self) -> None:
        self.is_cut_off = True


class Hands:
    """Somebody else's hands on a log: a user, or a controller."""

    def __init__(self, log: MemoryLog, replica: Replica, edges: Edges | None = None) -> None:
        self.log = log
        self.replica = replica
        self._committer = Committer(log, replica, self._see, edges or Edges())

    def put(self, obj: Object) -> Object:
        """Create or replace an object; return it as stored."""
        found = self.replica.get(key_of_object(obj))
        self.commit(Create(obj) if found is None else Replace(found, obj))
        return self.replica.get(key_of_object(obj)) or {}

    def commit(self, *changes: Change) -> None:
        """Commit, and wait until that is seen."""
        intent = Intent(Actor("user:alice"), uuid.uuid4().hex)
        self._see(self._committer.commit(lambda: Proposal(changes), intent).appended.last)

    def events(self) -> list[Event]:
        """The whole log."""
        return [decode(entry) for entry in self.log.read(0, 100_000)]

    def _see(self, position: int) -> None:
        assert self.replica.wait_for(position, 10)


@dataclass(frozen=True, slots=True)
class Plane:
    """A control plane, and the hands of a user and a failing network.

    `put` creates or replaces an object as somebody else would and returns it as stored (its uid may be new);
    `break_off` makes the control plane unreachable.
    """

    port: Any
    put: Callable[[Object], Object]
    break_off: Callable[[], None]


@contextmanager
def in_memory() -> Iterator[Plane]:
    control = MemoryControlPlane()
    yield Plane(control, control.put, lambda: control.refuse_with(Unavailable("gone")))


@contextmanager
def event_store() -> Iterator[Plane]:
    """The adapter for the agents of one machine, which share a replica."""
    log = a_log()
    replica = Replica(log)
    replica.load()
    replica.start()
    hands = Hands(log, replica)
    hands.put(a_namespace())
    yield Plane(EventStore(log, replica, None, Edges()), hands.put, log.break_off)
    replica.stop()


@contextmanager
def batch_event_store() -> Iterator[Plane]:
    """The adapter for many simulated nodes, which has a replica of its own."""
    log = a_log()
    store = BatchEventStore(log, None, Edges())
    hands = Hands(log, store._replica)
    hands.put(a_namespace())
    yield Plane(store, hands.put, log.break_off)
    store.close()


def a_log() -> FrailLog:
    log = FrailLog()
    log.create()
    return log
