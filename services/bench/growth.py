"""How the cost of one pod's change grows with what there is: with the nodes, and with the size of its set.

CPU time of view and decision, the log in memory, the collector off as in a worker.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any

from events.memory import wall_clock
from schemas.changes import Create, Replace
from schemas.kinds import DAEMON_SET, POD
from schemas.objects import Key, Object, key_of, name_of, with_fields
from services.bench.fleets import a_daemonset, a_node
from services.bench.floors import without_collection
from services.bench.gates import Reading
from services.bench.worlds import World
from services.controllers.controller import Controller
from services.controllers.daemonset import daemonset
from services.controllers.statefulset import STATEFULSET
from services.loadtest.sets import a_set, key_of_set
from services.scheduler.controller import KEY as SCHEDULER_KEY
from services.scheduler.controller import scheduler

SIZES = (10, 100, 1_000, 10_000)
_AT_ONCE = 500
_LOOKS = 9
_SINCE = "2026-01-01T00:00:00Z"
_READY = {
    "phase": "Running",
    "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": _SINCE}],
}


def growth(sizes: tuple[int, ...] = SIZES) -> Iterator[Reading]:
    """Measure a look after one pod's change, at each size."""
    for size in sizes:
        with without_collection():
            scheduled, daemons, pods = _scheduler(size), _daemons(size), _set(size)
        yield Reading(f"growth-nodes-{size}", f"place one pod, {size:,} nodes", scheduled, "ms")
        yield Reading(f"growth-daemons-{size}", f"one pod of a DaemonSet on {size:,} nodes", daemons, "ms")
        yield Reading(f"growth-set-{size}", f"one pod of a StatefulSet of {size:,}", pods, "ms")


def _scheduler(nodes: int) -> float:
    world, binder = _with_nodes(nodes), scheduler()
    times = []
    for number in range(_LOOKS):
        name = f"web-{number}"
        world.commit([Create(a_set(name, 1, "OrderedReady"))])
        _look(world, STATEFULSET, key_of_set(name))
        times.append(_look(world, binder, SCHEDULER_KEY))
    return median(times)


def _daemons(nodes: int) -> float:
    world, controller, binder = _with_nodes(nodes), daemonset(), scheduler()
    key = key_of(DAEMON_SET.resource, "default", "fluentd")
    world.commit([Create(a_daemonset())])
    _settle(world, controller, key, binder)
    return _changed(world, controller, key)


def _set(pods: int) -> float:
    world, key = World(), key_of_set("web")
    world.commit([Create(a_set("web", pods, "Parallel"))])
    _settle(world, STATEFULSET, key)
    return _changed(world, STATEFULSET, key)


def _with_nodes(count: int) -> World:
    world = World()
    for start in range(0, count, _AT_ONCE):
        names = [f"sim-{number}" for number in range(start, min(start + _AT_ONCE, count))]
        world.commit([Create(a_node(name)) for name in names])
    return world


def _settle(
    world: World, controller: Controller[Any], key: Key, binder: Controller[Any] | None = None
) -> None:
    """Look until nothing is to be done, all pods being Ready as soon as they are there."""
    before = -1
    while world.state.position != before:
        before = world.state.position
        _look(world, controller, key)
        if binder is not None:
            _look(world, binder, SCHEDULER_KEY)
        new = [
            pod for pod in world.state.list(POD.resource) if pod.get("status", {}).get("phase") != "Running"
        ]
        for start in range(0, len(new), _AT_ONCE):
            world.commit([_with_status(pod, _READY) for pod in new[start : start + _AT_ONCE]])


def _changed(world: World, controller: Controller[Any], key: Key) -> float:
    """Change one pod after the other; return the milliseconds of a look, the median."""
    times = []
    for number, pod in enumerate(sorted(world.state.list(POD.resource), key=name_of)[:_LOOKS]):
        world.commit([_with_status(pod, {**_READY, "podIP": f"127.0.0.{number + 1}"})])
        times.append(_look(world, controller, key))
    return median(times)


def _with_status(pod: Object, status: Object) -> Replace:
    return Replace(pod, with_fields(pod, status={**pod.get("status", {}), **status}))


def _look(world: World, controller: Controller[Any], key: Key) -> float:
    """Look at a key and commit what is decided; return the milliseconds of view and decision."""
    begun = time.process_time()
    view = controller.view_of(world.state, key)
    changes = controller.reconcile(view, wall_clock()).changes if view is not None else ()
    took = 1000 * (time.process_time() - begun)
    if changes:
        world.commit(changes)
    return took
