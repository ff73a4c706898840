"""Control planes to test with: the fake, a real API's, and what load tests have, over a log in memory."""

from __future__ import annotations

import time
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
from schemas.canonical import canonical
from schemas.changes import Change, Create, Replace
from schemas.envelopes import Actor, Event
from schemas.errors import Unavailable
from schemas.objects import Object, key_of_object, version_of
from services.agent.remote.connections import Api, Server
from services.agent.remote.control_plane import ApiControlPlane
from services.loadtest.event_store import EventStore
from tests.events.worlds import a_namespace
from tests.services.agent.fakes import MemoryControlPlane
from tests.services.api.apis import an_api


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
def over_http() -> Iterator[Plane]:
    """What agents have, over a real API."""
    log = FrailLog()
    with an_api(log=log) as api:
        remote = Api(Server(str(api.client.base_url).rstrip("/")))
        control_plane = ApiControlPlane(remote, "n1", "a-holder")
        assert control_plane.pods_on("n1") == [] and control_plane.published() == ()
        hands = Hands(log, api.server.replica)
        yield Plane(
            control_plane, lambda obj: _seen(control_plane, hands.put(canonical(obj).object)), log.break_off
        )
        control_plane.close()
        remote.close()


def _seen(control_plane: ApiControlPlane, obj: Object) -> Object:
    """Return an object once the node's watches have it, if it is theirs."""
    node = (obj.get("spec") or {}).get("nodeName")
    deadline = time.monotonic() + 10
    while node and all(version_of(each) < version_of(obj) for each in control_plane.pods_on(node)):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return obj


@contextmanager
def event_store() -> Iterator[Plane]:
    """What many simulated nodes have (a Plane of theirs, no ControlPlane)."""
    log = a_log()
    store = EventStore(log, None, Edges())
    hands = Hands(log, store.replica)
    hands.put(a_namespace())
    yield Plane(store, hands.put, log.break_off)
    store.close()


def a_log() -> FrailLog:
    log = FrailLog()
    log.create()
    return log
