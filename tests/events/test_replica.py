"""A replica stands on batch ends, keeps up, and stops loudly when history is lost."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable

import pytest

from events.codec import Entry
from events.log import Log
from events.memory import MemoryLog
from events.replica import COLLECT_AFTER, COLLECT_EVERY, Applied, Replica
from schemas.changes import Create, Delete, Replace
from schemas.errors import ChronosetError, LostHistory, NotFound, Unavailable
from schemas.objects import with_fields
from tests.events.worlds import World, a_bare_pod

POD = "core/pods/default/web-0"


def eventually(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.005)


def test_a_replica_follows_the_log(log: Log) -> None:
    world = World(log)
    replica = Replica(log)
    replica.load()
    replica.start()
    committed = world.commit(Create(a_bare_pod()))
    assert replica.wait_for(committed.appended.last, 5)
    assert replica.get(POD) == world.the(POD)
    assert replica.list("core/pods", "default") == [world.the(POD)]
    assert not replica.wait_for(committed.appended.last + 1, 0.01)
    replica.stop()


def test_what_many_new_objects_leave_behind_is_collected_before_its_time() -> None:
    """One collection of all that is new since some seconds would hold up whoever asks meanwhile."""

    class Cycle:
        def __init__(self) -> None:
            self.itself = self

    world = World()
    replica = Replica(world.log)
    replica.load()
    replica.start()
    left_behind = weakref.ref(Cycle())
    kept = [[number] for number in range(COLLECT_AFTER + 1000)]
    assert replica.wait_for(world.commit(Create(a_bare_pod())).appended.last, 5)
    eventually(lambda: left_behind() is None, COLLECT_EVERY / 2)
    replica.stop()
    assert len(kept) > COLLECT_AFTER


def test_a_batch_that_is_read_in_pieces_is_applied_whole() -> None:
    world = World()
    world.commit(*(Create(a_bare_pod(f"web-{n}")) for n in range(10)))

    class Slow(MemoryLog):
        def read(self, after: int, limit: int, until: int | None = None) -> list[Entry]:
            return world.log.read(after, min(limit, 3), until)

        def follow(self, after: int, limit: int, timeout: float) -> list[Entry]:
            return world.log.follow(after, 3, timeout)

    slow = Slow()
    slow.__dict__.update(log_id=world.log.log_id, last=world.log.last)
    seen: list[int] = []

    def count(applied: object) -> None:
        seen.append(len(replica.list("core/pods")))

    replica = Replica(slow, on_applied=count)
    replica.load()
    assert len(replica.list("core/pods")) == 10
    assert set(seen) <= {0, 10}


def test_observers_see_each_event_with_its_object_before_and_after() -> None:
    world = World()
    seen: list[Applied] = []
    replica = Replica(world.log, on_applied=seen.extend)
    world.commit(Create(a_bare_pod()))
    pod = world.the(POD)
    world.commit(Replace(pod, with_fields(pod, status={"phase": "Running"})))
    world.commit(Delete(world.the(POD)))
    replica.load()
    phases = [
        tuple(obj and obj["status"]["phase"] for obj in (each.old, each.new))
        for each in seen
        if each.event.key == POD
    ]
    assert phases == [(None, "Pending"), ("Pending", "Running"), ("Running", None)]


def test_a_log_that_was_never_created_is_not_followed() -> None:
    with pytest.raises(NotFound):
        Replica(MemoryLog()).load()


def test_a_gap_ends_the_replica_and_names_the_position() -> None:
    world = World()
    replica = Replica(world.log)
    replica.load()
    world.commit(Create(a_bare_pod("lost")))
    lost = world.log.last()
    assert isinstance(world.log, MemoryLog)
    index = world.log._positions.index(lost)
    replica.start()
    eventually(lambda: replica.position == lost)
    world.commit(Create(a_bare_pod("next")))
    del world.log._entries[index], world.log._positions[index]
    fresh = Replica(world.log)
    with pytest.raises(LostHistory) as caught:
        fresh.load()
    assert caught.value.position == world.log.last()
    replica.stop()


class Flaky(MemoryLog):
    """A log whose server can go away and come back with another log, or a shorter one."""

    away = False

    def follow(self, after: int, limit: int, timeout: float) -> list[Entry]:
        if self.away:
            raise Unavailable("gone")
        return super().follow(after, limit, 0.01)

    def log_id(self) -> str:
        if self.away:
            raise Unavailable("gone")
        return super().log_id()


def a_followed_log() -> tuple[Flaky, World, Replica]:
    log = Flaky()
    world = World(log)
    world.commit(Create(a_bare_pod()))
    replica = Replica(log)
    replica.load()
    replica.start()
    log.away = True
    eventually(lambda: bool(replica.unreachable))
    return log, world, replica


def test_a_replica_survives_a_server_that_goes_away() -> None:
    log, world, replica = a_followed_log()
    log.away = False
    done = world.commit(Create(a_bare_pod("web-1")))
    assert replica.wait_for(done.appended.last, 5) and not replica.unreachable
    replica.stop()


def test_a_server_that_comes_back_with_another_log_or_a_shorter_one_is_not_believed() -> None:
    for damage in ("foreign", "shorter"):
        log, _, replica = a_followed_log()
        if damage == "foreign":
            log._log_id = "another"
        else:
            del log._entries[-1], log._positions[-1]
        log.away = False
        with pytest.raises(LostHistory):
            replica.wait_for(1 << 62, 5)
        with pytest.raises(LostHistory):
            replica.get(POD)
        replica.stop()


def test_a_recorded_end_that_the_entries_do_not_reach_is_lost_history() -> None:
    world = World()
    log = world.log
    assert isinstance(log, MemoryLog)
    end = log.last()

    class Short(MemoryLog):
        def last(self) -> int:
            return end + 5

        def read(self, after: int, limit: int, until: int | None = None) -> list[Entry]:
            return world.log.read(after, limit, until)

        def log_id(self) -> str:
            return world.log.log_id()

    with pytest.raises(LostHistory, match="before its recorded end"):
        Replica(Short()).load()


def test_nobody_reads_while_a_batch_is_applied() -> None:
    world = World()
    replica = Replica(world.log)
    replica.load()
    replica.start()
    torn: list[int] = []
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            with replica.reading() as state:
                count = len(state.list("core/pods"))
            if count % 10:
                torn.append(count)

    watcher = threading.Thread(target=watch)
    watcher.start()
    for batch in range(30):
        world.commit(*(Create(a_bare_pod(f"p{batch}-{n}")) for n in range(10)))
    assert replica.wait_for(world.log.last(), 5)
    stop.set()
    watcher.join(5)
    replica.stop()
    assert torn == []


def test_a_log_that_is_replaced_under_an_idle_replica_is_noticed() -> None:
    log = Flaky()
    world = World(log)
    replica = Replica(log)
    replica.load()
    replica.start()
    world.commit(Create(a_bare_pod()))
    log._log_id = "another"
    with pytest.raises(LostHistory, match="another"):
        replica.wait_for(1 << 62, 5)
    replica.stop()


def test_an_observer_that_breaks_ends_the_replica_and_says_so() -> None:
    world = World()

    def broken(_applied: object) -> None:
        if replica.position > position:
            raise ZeroDivisionError("oops")

    replica = Replica(world.log, on_applied=broken)
    position = 1 << 62
    replica.load()
    position = replica.position
    replica.start()
    world.commit(Create(a_bare_pod()))
    with pytest.raises(ChronosetError, match="oops"):
        replica.wait_for(1 << 62, 5)
    replica.stop()
