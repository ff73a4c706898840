"""Append, fold and reconcile, in this process."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

from events.codec import Entry
from events.commit import REMEMBER_CONTROLLER, Edges, Intent, Proposal, batch_of, prepare
from events.fold import apply_entries
from events.log import Batch
from events.memory import wall_clock
from events.redis_log import RedisLog
from events.state import State
from schemas.changes import Create
from schemas.envelopes import Actor
from schemas.objects import Object
from services.bench.floors import REPEATS, no_op_folds, per_second, server, without_collection
from services.bench.gates import Gate, Reading
from services.bench.worlds import World
from services.settings import Durability

_ACTOR = Actor("socket:bench", "socket")


def appends(place: Path) -> Iterator[Reading]:
    """Measure appends of prepared batches by one client, in turn with PINGs: of one event and of 100.

    A machine that others use too is half as fast a minute later, so the floor is taken beside each repeat.
    """
    gates = {
        (1, Durability.EVERYSEC): Gate(0, True, 0.7, "PING/s"),
        (100, Durability.EVERYSEC): Gate(30_000, True, 3.0, "PING/s"),
        (100, Durability.ALWAYS): Gate(9_000, True, 0.9, "PING/s"),
    }
    for durability in (Durability.ALWAYS, Durability.EVERYSEC):
        with server(place, durability) as client:
            log = RedisLog(client, "bench")
            log.create()
            for size, batches in ((1, 1500 if durability is Durability.EVERYSEC else 500), (100, 60)):
                repeats = [
                    (per_second(client.ping, 1000), _speed(log, size, batches)) for _ in range(2 * REPEATS)
                ]
                pings, speed = (median(each) for each in zip(*repeats, strict=True))
                what = "events/s, one at a time" if size == 1 else f"events/s, batches of {size}"
                gate = gates.get((size, durability))
                note = f"PING/s in turn with it: {pings:,.0f}"
                yield Reading(
                    f"append-{size}-{durability}", f"append, {durability}", speed, what, gate, note, pings
                )


def folds(entries: list[Entry]) -> Reading:
    """Measure the fold with all indexes and checks, from bytes, in CPU time, in turn with folds that only decode."""

    def fold() -> float:
        state = State()  # it outlives the measurement: a replica does not take itself apart either
        with without_collection():
            begun = time.process_time()
            apply_entries(state, entries)
            return len(entries) / (time.process_time() - begun)

    gate = Gate(50_000, True, 0.5, "no-op folds/s")
    what = f"fold a history of {len(entries):,} events, decoding included"
    repeats = [(no_op_folds(entries), fold()) for _ in range(2 * REPEATS)]
    decoded, folded = (median(each) for each in zip(*repeats, strict=True))
    note = f"no-op folds/s in turn with it: {decoded:,.0f}"
    return Reading("fold", what, folded, "events/s", gate, note, decoded)


def reconciles() -> Iterator[Reading]:
    """Measure view and decision of a set of 1,000 pods: settled, and in the middle of a rollout; in CPU time."""
    world = World()
    key = world.create_set("large", 1000)
    gate = Gate(25, False, 2000, "no-op fold")
    for what in ("settled", "rolling"):
        if what == "rolling":
            world.roll(key, 1)
        times = [_milliseconds(lambda: world.reconcile(key, wall_clock())) for _ in range(4 * REPEATS)]
        yield Reading(
            f"reconcile-{what}", f"reconcile a {what} set of 1,000 pods, p50", median(times), "ms", gate
        )


def _milliseconds(call: Callable[[], object]) -> float:
    begun = time.process_time()
    call()
    return 1000 * (time.process_time() - begun)


def _speed(log: RedisLog, size: int, count: int) -> float:
    batches = [_batch(size) for _ in range(count)]
    with without_collection():
        begun = time.perf_counter()
        for batch in batches:
            log.append(batch)
        return size * count / (time.perf_counter() - begun)


def _batch(size: int) -> Batch:
    """Return a batch that creates `size` objects of some 300 bytes; it expects that none of them exists."""
    name = uuid.uuid4().hex
    intent = Intent(_ACTOR, name, remember=REMEMBER_CONTROLLER)
    changes = [Create(_an_object(f"{name}-{index}")) for index in range(size)]
    return batch_of(prepare(Proposal(changes), State(), intent, Edges()), intent, wall_clock())


def _an_object(name: str) -> Object:
    metadata = {"name": name, "annotations": {"bench": "x" * 100}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}
