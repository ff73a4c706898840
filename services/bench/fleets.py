"""A DaemonSet on as many nodes as any, pods that go anywhere, and what a pod takes of a process' memory: by the real
controller and scheduler, on a log in memory."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterator
from statistics import median
from typing import Any

from events.fold import apply_entries
from events.memory import wall_clock
from events.state import State
from schemas.canonical import canonical
from schemas.changes import Create, Replace
from schemas.kinds import DAEMON_SET, NODE, POD
from schemas.objects import Key, Object, key_of, name_of, with_fields
from schemas.times import rfc3339
from services.bench.floors import without_collection
from services.bench.gates import Gate, Reading
from services.bench.worlds import World
from services.controllers.controller import Controller
from services.controllers.daemonset import daemonset
from services.scheduler.controller import KEY as SCHEDULER_KEY
from services.scheduler.controller import scheduler

NODES = 5_000
_AT_ONCE = 500
_LOOKS = 9
_LABELS = {"name": "fluentd-elasticsearch"}


def fleets(nodes: int = NODES) -> Iterator[Reading]:
    """Measure how long a new set takes to have a bound pod on each of `nodes` nodes, and what one changed node costs.

    In CPU time of one process, commits and folds included in the first; the log is in memory.
    """
    world, key = World(), key_of(DAEMON_SET.resource, "default", "fluentd")
    for start in range(0, nodes, _AT_ONCE):
        world.commit([Create(a_node(f"sim-{index}")) for index in range(start, min(start + _AT_ONCE, nodes))])
    controller, binder = daemonset(), scheduler()
    with without_collection():
        begun = time.process_time()
        world.commit([Create(a_daemonset())])
        while _step(world, controller, key) + _step(world, binder, SCHEDULER_KEY):
            pass
        seconds = time.process_time() - begun
        bound = sum("nodeName" in pod["spec"] for pod in world.state.list(POD.resource))
        what = f"a DaemonSet on {nodes:,} nodes: create and bind {bound:,} pods"
        yield Reading("daemonset-create", what, seconds, "s", Gate(15))
        _start(world, controller, key)
        times = list(_changed_nodes(world, controller, key))
    what = f"reconcile it when one of {nodes:,} nodes has changed, view included, p50"
    yield Reading("daemonset-node", what, median(times), "ms", Gate(20, False, 1600, "no-op fold"))
    yield from _pods_anywhere(nodes)


def _pods_anywhere(nodes: int) -> Iterator[Reading]:
    """Measure how fast pods that fit everywhere are bound, and what a State takes for each of them."""
    world, binder = World(), scheduler()
    for start in range(0, nodes, _AT_ONCE):
        world.commit([Create(a_node(f"sim-{index}")) for index in range(start, min(start + _AT_ONCE, nodes))])
    before = world.state.position
    for start in range(0, nodes, _AT_ONCE):
        world.commit(
            [Create(_a_pod(f"web-{start + index}")) for index in range(min(_AT_ONCE, nodes - start))]
        )
    with without_collection():
        begun = time.process_time()
        while _step(world, binder, SCHEDULER_KEY):
            pass
        seconds = time.process_time() - begun
    _report(world)
    what = f"bind {nodes:,} pods to {nodes:,} nodes, commits and folds included"
    yield Reading("bindings", what, nodes / seconds, "1/s", Gate(2_000, True, 0.02, "no-op folds/s"))
    state = State()
    apply_entries(state, world.log.read(0, 10**9, before))
    entries = world.log.read(before, 10**9)
    tracemalloc.start()
    apply_entries(state, entries)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    yield Reading(
        "pod-memory",
        "what a State takes for a pod of one container that runs",
        taken / nodes / 1024,
        "KB",
        Gate(10),
    )


def _a_pod(name: str) -> Object:
    spec = a_daemonset()["spec"]["template"]["spec"]
    metadata = {"name": name, "namespace": "default", "labels": _LABELS}
    manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
    return canonical(manifest).object


def a_node(name: str, **labels: str) -> Object:
    """Return a node that is Ready and takes any pod."""
    metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **labels}}
    status = {
        "allocatable": {"cpu": "4", "memory": "8Gi", "pods": "110"},
        "conditions": [{"type": "Ready", "status": "True"}],
    }
    return {"apiVersion": "v1", "kind": "Node", "metadata": metadata, "spec": {}, "status": status}


def a_daemonset() -> Object:
    """Return a log collector, as `apply` would store it."""
    container = {
        "name": "fluentd",
        "image": "fluentd:1",
        "resources": {"requests": {"cpu": "100m", "memory": "200Mi"}},
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "fluentd", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": _LABELS},
            "template": {"metadata": {"labels": _LABELS}, "spec": {"containers": [container]}},
        },
    }
    return canonical(manifest).object


def _changed_nodes(world: World, controller: Controller[Any], key: Key) -> Iterator[float]:
    """Change one node after the other (a label; every third is new), and yield the milliseconds of each look."""
    for number in range(_LOOKS):
        if number % 3 == 0:
            world.commit([Create(a_node(f"new-{number}"))])
        else:
            node = world.state.list(NODE.resource)[number]
            labels = {**node["metadata"]["labels"], "changed": str(number)}
            world.commit([Replace(node, with_fields(node, metadata={**node["metadata"], "labels": labels}))])
        begun = time.process_time()
        decision = controller.reconcile(controller.view_of(world.state, key), wall_clock())
        yield 1000 * (time.process_time() - begun)
        world.commit(decision.changes)


def _start(world: World, controller: Controller[Any], key: Key) -> None:
    """Report all pods Running and Ready, and let the set count them."""
    _report(world)
    while _step(world, controller, key):
        pass


def _report(world: World) -> None:
    """Report all pods Running and Ready, as agents do."""
    pods, now = sorted(world.state.list(POD.resource), key=name_of), rfc3339(wall_clock())
    for start in range(0, len(pods), _AT_ONCE):
        some = enumerate(pods[start : start + _AT_ONCE], start)
        world.commit([Replace(pod, with_fields(pod, status=_status(number, now))) for number, pod in some])


def _status(number: int, now: str) -> Object:
    address, node = (f"10.{net}.{number >> 8}.{number & 255}" for net in (3, 213))
    said = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    container = {
        "name": "fluentd",
        "image": "fluentd:1",
        "imageID": f"sha256:{number:064x}",
        "containerID": f"process://00000000-0000-4000-8000-{number:012x}/fluentd/0",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": now}},
        "lastState": {},
    }
    return {
        "phase": "Running",
        "qosClass": "Burstable",
        "startTime": now,
        "podIP": address,
        "podIPs": [{"ip": address}],
        "hostIP": node,
        "hostIPs": [{"ip": node}],
        "conditions": [{"type": each, "status": "True", "lastTransitionTime": now} for each in said],
        "containerStatuses": [container],
    }


def _step(world: World, controller: Controller[Any], key: Key) -> int:
    """Look at a key once; return how many changes came of it."""
    view = controller.view_of(world.state, key)
    if view is None:
        return 0
    decision = controller.reconcile(view, wall_clock())
    if decision.changes:
        world.commit(decision.changes)
    return len(decision.changes)
