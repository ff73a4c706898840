"""What needs real processes: hops, an ordered set on simulated nodes, what tails cost, and what idleness costs."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from events.commit import Committer, Intent, Proposal, batch_of, prepare
from events.replay import events_between
from events.replica import Replica
from schemas.changes import Change, Create, Replace
from schemas.envelopes import Actor
from schemas.errors import Unavailable
from schemas.event_types import condition_of
from schemas.kinds import POD
from schemas.objects import Key, with_fields, with_metadata
from schemas.positions import Position
from services.bench.floors import fdatasync_p50, server
from services.bench.gates import Gate, Reading
from services.bench.worlds import CONFIG, a_config
from services.broker.keys import Keys
from services.broker.measure import hop_seconds
from services.loadtest.clusters import Running, Shape, running_cluster
from services.loadtest.sets import a_set, key_of_set
from services.loadtest.statistics import percentile
from services.loadtest.traces import beginnings
from services.loadtest.usage import Usage, usage_of, used_between
from services.loadtest.watching import Watch
from services.settings import Durability
from services.wiring import edges_of, open_log

PROGRAMS = ("supervisor", "dispatcher", "worker-1", "worker-2", "projector")
IDLE_SECONDS = 20.0
_PATIENCE = 60.0
_HOP_PAUSE = 0.012
_MB = 1 << 20


def broker_hops(place: Path) -> Iterator[Reading]:
    """Measure enqueue to start of the actor, through a worker thread of this process that is idle before each."""
    with server(place, None) as client:
        hops = [1000 * each for each in hop_seconds(client, Keys("bench"), 500)]
    yield Reading(
        "broker-p50", "broker hop when idle, p50", percentile(hops, 0.5), "ms", Gate(2, False, 20, "PING")
    )
    yield Reading(
        "broker-p99", "broker hop when idle, p99", percentile(hops, 0.99), "ms", Gate(10, False, 100, "PING")
    )


def control_plane(place: Path) -> Iterator[Reading]:
    """Measure an idle control plane, whole hops through it, and what a paced event costs each of its processes."""
    with _driven(Shape(workers=2), place) as driver:
        time.sleep(3.0)
        yield from _idle(driver)
        yield from _tails(driver)
        yield from _hops(driver, place)


def ordered_sets(place: Path) -> Iterator[Reading]:
    """Measure how long after one pod of an OrderedReady set the next one is Ready, nodes being simulated."""
    for durability in (Durability.ALWAYS, Durability.EVERYSEC):
        with _driven(Shape(2, 1, durability, is_traced=False), place) as driver:
            gaps = [driver.ordered(f"ordered-{number}", 30) for number in range(5)]
        gate = Gate(15, False, 150, "PING") if durability is Durability.ALWAYS else None
        what = f"ordered set, from one Ready to the next, {durability}"
        yield Reading(f"ordered-{durability}", what, median(gaps), "ms", gate)


class _Driver:
    """A writer on a measured cluster."""

    def __init__(self, cluster: Running) -> None:
        self.cluster = cluster
        self.log = open_log(cluster.settings, "bench")
        self.watch = Watch(self.log)
        self._committer = Committer(self.log, self.watch.replica, self._reach, edges_of(cluster.settings))

    def close(self) -> None:
        self.watch.stop()
        self.log.close()

    def commit(self, change: Callable[[], Change]) -> Position:
        """Commit one change, decided by `change` from the present state; return its position once it is folded."""
        intent = Intent(Actor("socket:bench", "socket"), uuid.uuid4().hex)
        position = self._committer.commit(lambda: Proposal([change()]), intent).appended.last
        self._reach(position)
        return position

    def usage(self) -> dict[str, Usage]:
        return {name: usage_of(pid) for name, pid in self.cluster.pids.items()}

    def ordered(self, name: str, replicas: int) -> float:
        """Create an OrderedReady set; return the mean milliseconds from one pod's Ready to the next one's."""
        begun, key = self.log.last(), key_of_set(name)
        self.watch.await_settled([key])
        self.commit(lambda: Create(a_set(name, replicas, "OrderedReady")))
        if self.watch.wait(time.monotonic() + _PATIENCE, lambda _sets, _events: None):
            raise Unavailable(f"the set {name} is not Ready after {_PATIENCE:.0f} s")
        ready: dict[str, Position] = {}
        for event in events_between(self.log, begun, self.log.last()):
            status = (event.body or {}).get("status") or {}
            if (
                event.key.startswith(f"{POD.resource}/")
                and condition_of({"status": status}, "Ready") == "True"
            ):
                ready.setdefault(event.key, event.position)
        return ((max(ready.values()) >> 20) - (min(ready.values()) >> 20)) / (len(ready) - 1)

    def _reach(self, position: Position) -> None:
        if not self.watch.replica.wait_for(position, 10):
            raise Unavailable("the bench's own replica does not keep up with the log")


@contextmanager
def _driven(shape: Shape, place: Path) -> Iterator[_Driver]:
    with running_cluster(shape, place) as cluster:
        driver = _Driver(cluster)
        try:
            yield driver
        finally:
            driver.close()


def _idle(driver: _Driver) -> Iterator[Reading]:
    before, begun = driver.usage(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    used, seconds = used_between(before, driver.usage()), time.monotonic() - begun
    share = 100 * sum(used[name].cpu for name in PROGRAMS) / seconds
    wakes = ", ".join(f"{name} {used[name].wakes / seconds:.0f}" for name in used)
    yield Reading("idle-cpu", "idle control plane", share, "% of a core", Gate(4), f"wakes/s: {wakes}")
    memory = sum(used[name].pss for name in PROGRAMS) / _MB
    parts = ", ".join(f"{name} {used[name].pss / _MB:.0f}" for name in used)
    yield Reading("idle-memory", "idle control plane, PSS", memory, "MB", Gate(250), parts)


def _hops(driver: _Driver, place: Path) -> Iterator[Reading]:
    """Touch a set without pods again and again; its worker tells when it began to look at what was appended.

    The writer does not follow the log meanwhile: of two cores, a follower more would be felt. What is added for the
    fsync is what one takes at this pace: a disk that rests between two is slower than one that is kept busy.
    """
    fsync = 1000 * fdatasync_p50(place, _HOP_PAUSE)
    driver.commit(lambda: Create(a_set("hops", 0, "Parallel")))
    time.sleep(0.5)
    driver.watch.stop()
    replica = Replica(driver.log, every=_PATIENCE)
    replica.load()
    sent = [_sent(driver, replica, number) for number in range(300)]
    time.sleep(0.5)
    begun_at = [(each.position, each.at) for each in beginnings(driver.cluster.trace)]
    hops = sorted(
        (min(at for position, at in begun_at if position >= wanted) - begun) / 1e6 for begun, wanted in sent
    )
    what, note = "whole hop when idle, append to start of reconcile", f"an fsync at this pace: {fsync:.2f} ms"
    yield Reading("hop-p50", f"{what}, p50", percentile(hops, 0.5), "ms", Gate(2 + fsync), note)
    yield Reading("hop-p99", f"{what}, p99", percentile(hops, 0.99), "ms", Gate(10 + fsync), note)


def _sent(driver: _Driver, replica: Replica, number: int) -> tuple[int, Position]:
    """Append a change of the set, after a pause; return when that was begun (monotonic ns), and its position."""
    time.sleep(_HOP_PAUSE)
    replica.catch_up()
    intent, edges = (
        Intent(Actor("socket:bench", "socket"), uuid.uuid4().hex),
        edges_of(driver.cluster.settings),
    )
    change = _touched(replica, key_of_set("hops"), number)
    batch = batch_of(prepare(Proposal([change]), replica, intent, edges), intent, edges.clock())
    begun = time.monotonic_ns()
    return begun, driver.log.append(batch).last


def _tails(driver: _Driver) -> Iterator[Reading]:
    """Append events that concern no controller at a steady pace: what is used is what following costs."""
    driver.commit(lambda: Create(a_config(0)))
    for pace in (50, 500):
        count = 4 * pace
        before, begun = driver.usage(), time.monotonic()
        for number in range(1, count + 1):
            driver.commit(partial(_reconfigured, driver, number))
            time.sleep(max(0.0, begun + number / pace - time.monotonic()))
        used, seconds = used_between(before, driver.usage()), time.monotonic() - begun
        for name in (*PROGRAMS[1:], "log"):
            usage = used[name]
            note = f"at {count / seconds:.0f} events/s, {usage.wakes / seconds:.0f} wakes/s"
            yield Reading(
                f"tail-{pace}-{name}", f"CPU of {name}", 1e6 * usage.cpu / count, "us/event", None, note
            )


def _touched(replica: Replica, key: Key, number: int) -> Change:
    old = replica.get(key)
    assert old is not None
    return Replace(old, with_metadata(old, annotations={"bench": str(number)}))


def _reconfigured(driver: _Driver, number: int) -> Change:
    old = driver.watch.replica.get(CONFIG)
    assert old is not None
    return Replace(old, with_fields(old, data={"n": str(number)}))
