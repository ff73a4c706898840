"""The dispatcher owes every key a mark whenever some may be lost; here a real one, on a fake queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from schemas.changes import Create
from services.broker.hints import Hints
from services.broker.keys import Keys
from services.broker.leases import queue_epoch
from services.controllers.statefulset import STATEFULSET
from services.controllers.switches import with_switch
from services.dispatcher import Dispatcher, Queue
from tests.events.worlds import World, a_namespace, a_statefulset
from tests.servers import fake_client
from tests.services.broker.workers import eventually

KEYS = Keys("c")
WEB = b"statefulset/apps/statefulsets/default/web"
API = b"statefulset/apps/statefulsets/default/api"


class ALease:
    """A lease that the test gives and takes away."""

    def __init__(self) -> None:
        self.is_free = True
        self.refusals = 0

    def acquire(self) -> bool:
        self.refusals += not self.is_free
        return self.is_free

    def release(self) -> bool:
        return self.is_free


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.dispatcher.TICK", 0.005)
    monkeypatch.setattr("services.dispatcher.LEASE_EVERY", 0.01)
    monkeypatch.setattr("events.replica.BLOCK_SECONDS", 0.05)


@contextmanager
def a_dispatcher(world: World, client: redis.Redis, lease: ALease) -> Iterator[None]:
    queue = Queue(Hints(client, KEYS), lease, lambda: queue_epoch(client, KEYS))  # type: ignore[arg-type]
    dispatcher = Dispatcher(world.log, queue, [STATEFULSET])
    thread = threading.Thread(target=dispatcher.run)
    thread.start()
    try:
        yield
    finally:
        dispatcher.stop()
        thread.join()


def marked(client: redis.Redis) -> set[bytes]:
    return set(client.hkeys(KEYS.waiting_marks))  # type: ignore[arg-type]


def forget_marks(client: redis.Redis) -> None:
    client.delete(KEYS.waiting_marks)


def test_every_key_is_marked_at_the_start_and_then_what_changes() -> None:
    world, client = World(), fake_client()
    world.commit(Create(a_statefulset("web")))
    with a_dispatcher(world, client, ALease()):
        eventually(lambda: marked(client) == {WEB})
        forget_marks(client)
        world.commit(Create(a_statefulset("api")))
        eventually(lambda: marked(client) == {API})


def test_every_key_is_marked_when_the_lease_comes_back() -> None:
    """Whoever led meanwhile may have died between an event and its hints."""
    world, client, lease = World(), fake_client(), ALease()
    world.commit(Create(a_statefulset("web")))
    with a_dispatcher(world, client, lease):
        eventually(lambda: marked(client) == {WEB})
        lease.is_free = False
        eventually(lambda: lease.refusals > 1)
        forget_marks(client)
        lease.is_free = True
        eventually(lambda: marked(client) == {WEB})


def test_whoever_does_not_hold_the_lease_marks_nothing() -> None:
    world, client, lease = World(), fake_client(), ALease()
    lease.is_free = False
    world.commit(Create(a_statefulset("web")))
    with a_dispatcher(world, client, lease):
        eventually(lambda: lease.refusals > 5)
        assert marked(client) == set()


def test_a_queue_that_has_lost_its_data_gets_every_key_again() -> None:
    world, client = World(), fake_client()
    world.commit(Create(a_statefulset("web")))
    with a_dispatcher(world, client, ALease()):
        eventually(lambda: marked(client) == {WEB})
        client.flushall()
        eventually(lambda: marked(client) == {WEB})


def test_every_key_is_marked_when_a_controller_is_resumed() -> None:
    world, client = World(), fake_client()
    world.commit(Create(a_namespace("kube-system")), Create(a_statefulset("web")))
    with a_dispatcher(world, client, ALease()):
        eventually(lambda: marked(client) == {WEB})
        forget_marks(client)
        world.commit(Create(with_switch(None, "statefulset", True)))
        eventually(lambda: marked(client) == {WEB})
