"""A history as clusters write them, and a set as large as any: made by the real controller, in memory."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from events.codec import Entry, decode
from events.commit import Committer, Edges, Intent, Proposal
from events.fold import apply_entries
from events.memory import MemoryLog, wall_clock
from events.state import State
from schemas.canonical import canonical
from schemas.changes import Change, Create, Delete, Replace
from schemas.envelopes import Actor, Event
from schemas.kinds import POD
from schemas.objects import Key, Object, is_terminating, key_of, with_fields
from schemas.times import Milliseconds, rfc3339
from services.controllers.statefulset import STATEFULSET
from services.loadtest.sets import NAMESPACE, a_set, key_of_set

_ACTOR = Actor("controller:statefulset", "socket")
_AT_ONCE = 400


class World:
    """A log in memory, its state, and the hands of controller, scheduler and agents, used one after another."""

    def __init__(self) -> None:
        self.log = MemoryLog("bench")
        self.log.create()
        self.state = State()
        self._committer = Committer(self.log, self.state, lambda _: None, Edges())
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        self.commit([Create(canonical(namespace).object)])

    def commit(self, changes: Iterable[Change]) -> None:
        """Append and fold."""
        intent = Intent(_ACTOR, uuid.uuid4().hex, remember=600)
        self._committer.commit(lambda: Proposal(changes), intent)
        apply_entries(self.state, self.log.read(self.state.position, 1000))

    def create_set(self, name: str, replicas: int) -> Key:
        """Create a Parallel set and bring all its pods to Ready."""
        self.commit([Create(a_set(name, replicas, "Parallel"))])
        key = key_of_set(name)
        self.settle(key)
        return key

    def roll(self, key: Key, steps: int) -> None:
        """Change a set's image, and let its rollout go `steps` pods far."""
        old = self.state.get(key)
        assert old is not None
        template = old["spec"]["template"]
        spec = {**template["spec"], "containers": [{**template["spec"]["containers"][0], "image": "app:2"}]}
        self.commit(
            [Replace(old, with_fields(old, spec={**old["spec"], "template": {**template, "spec": spec}}))]
        )
        for _ in range(4 * steps):
            self._step(key)

    def settle(self, key: Key) -> None:
        """Reconcile, schedule and report until nothing is to be done."""
        before = -1
        while self.state.position != before:
            before = self.state.position
            self._step(key)

    def reconcile(self, key: Key, now: Milliseconds) -> tuple[Change, ...]:
        """Return what the controller decides for a set now."""
        view = STATEFULSET.view_of(self.state, key)
        return STATEFULSET.reconcile(view, now).changes if view is not None else ()

    def events(self) -> list[Event]:
        """Return all events so far."""
        return list(map(decode, self.log.read(0, 10**9)))

    def _step(self, key: Key) -> None:
        now = wall_clock()
        if changes := self.reconcile(key, now):
            self.commit(changes)
        pods = self.state.list(POD.resource)
        self._commit_some([Replace(pod, _bound(pod)) for pod in pods if not pod["spec"].get("nodeName")])
        pods = self.state.list(POD.resource)
        self._commit_some([Delete(pod) for pod in pods if is_terminating(pod)])
        pods = [pod for pod in self.state.list(POD.resource) if "startTime" not in (pod.get("status") or {})]
        self._commit_some([Replace(pod, with_fields(pod, status=_running(pod, now))) for pod in pods])

    def _commit_some(self, changes: list[Change]) -> None:
        for start in range(0, len(changes), _AT_ONCE):
            self.commit(changes[start : start + _AT_ONCE])


def history(sets: int, replicas: int) -> list[Entry]:
    """Return the entries of a log in which sets were created, came up, and were rolled some pods far."""
    world = World()
    for index in range(sets):
        world.roll(world.create_set(f"set-{index}", replicas), 3)
    return world.log.read(0, 10**9)


def a_running_pod() -> Object:
    """Return a pod that runs, as the controllers and an agent make it."""
    world = World()
    world.create_set("web", 1)
    (pod,) = world.state.list(POD.resource)
    return pod


def a_config(number: int) -> Object:
    """Return an object that no controller looks at."""
    metadata = {"name": "bench", "namespace": NAMESPACE}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"n": str(number)}}
    return canonical(manifest).object


CONFIG = key_of("core/configmaps", NAMESPACE, "bench")


def _bound(pod: Object) -> Object:
    index = int(pod["metadata"]["name"].rpartition("-")[2])
    return with_fields(pod, spec={**pod["spec"], "nodeName": f"sim-{index % 20}"})


def _running(pod: Object, now: Milliseconds) -> Object:
    at = rfc3339(now)
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    container = pod["spec"]["containers"][0]
    status = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "sha256:" + "0" * 64,
        "containerID": f"simulated://{pod['metadata']['uid']}",
        "ready": True,
        "started": True,
        "restartCount": 0,
        "state": {"running": {"startedAt": at}},
    }
    return {
        "phase": "Running",
        "startTime": at,
        "hostIP": "127.0.0.1",
        "podIP": "127.20.0.1",
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": at} for kind in kinds],
        "containerStatuses": [status],
    }
