"""A control plane in memory, under the same contract as the real one, and what else the agent's tests need."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from schemas.deletion import DATA_FINALIZER
from schemas.errors import ChronosetError, NotFound
from schemas.kinds import NODE, POD, SERVICE, VOLUME
from schemas.objects import (
    Key,
    Object,
    is_terminating,
    key_of,
    key_of_object,
    name_of,
    namespace_of,
    split_key,
    uid_of,
    version_of,
    with_fields,
    with_metadata,
)
from schemas.positions import Position
from services.agent.registrations import registered
from services.headless import Record, records_of

T = TypeVar("T")


class MemoryControlPlane:
    """Objects by key and a counter for positions. `refuse_with(error)` makes every call raise until `None`.

    `refused` counts the calls that did.
    """

    def __init__(self, log_id: str = "log-1") -> None:
        self._id = log_id
        self._objects: dict[Key, Object] = {}
        self._moved = threading.Condition()
        self._position: Position = 1
        self._error: ChronosetError | None = None
        self.refused = 0
        self.heartbeats: dict[str, int] = {}

    def refuse_with(self, error: ChronosetError | None) -> None:
        with self._moved:
            self._error = error
            self._moved.notify_all()

    def put(self, obj: Object) -> Object:
        with self._moved:
            self._position += 1
            obj = with_metadata(obj, resourceVersion=str(self._position))
            self._objects[key_of_object(obj)] = obj
            self._moved.notify_all()
            return obj

    def remove(self, obj: Object) -> None:
        with self._moved:
            self._position += 1
            self._objects.pop(key_of_object(obj), None)
            self._moved.notify_all()

    def log_id(self) -> str:
        self._check()
        return self._id

    def register(self, node: Object) -> None:
        found = self.get(NODE.resource, "", name_of(node))
        self.put(registered(found, node) if found else node)

    def heartbeat(self, node: str) -> None:
        self._check()
        self.heartbeats[node] = self.heartbeats.get(node, 0) + 1

    def pods_on(self, node: str) -> list[Object]:
        return [pod for pod in self.list(POD.resource) if pod["spec"].get("nodeName") == node]

    def get(self, resource: str, namespace: str, name: str) -> Object | None:
        self._check()
        with self._moved:
            return self._objects.get(key_of(resource, namespace, name))

    def node_now(self, name: str) -> Object | None:
        return self.get(NODE.resource, "", name)

    def list(self, resource: str, namespace: str = "") -> Sequence[Object]:
        self._check()
        with self._moved:
            return [
                obj
                for key, obj in self._objects.items()
                if split_key(key)[0] == resource and namespace in ("", split_key(key)[1])
            ]

    def published(self) -> tuple[Record, ...]:
        return records_of(self.list(SERVICE.resource), self.list(POD.resource))

    def addresses_of_others(self, namespace: str, name: str) -> set[str]:
        self._check()
        pods = [
            pod for pod in self.list(POD.resource) if (namespace_of(pod), name_of(pod)) != (namespace, name)
        ]
        found = {pod["status"]["podIP"] for pod in pods if (pod.get("status") or {}).get("podIP")}
        nodes = self.list(NODE.resource)
        return found | {
            each["address"] for node in nodes for each in (node.get("status") or {}).get("addresses") or ()
        }

    def wait(self, after: Position, timeout: float) -> Position:
        with self._moved:
            self._moved.wait_for(lambda: self._position > after or self._error is not None, timeout)
        self._check()
        return self._position

    def report(self, pod: Object, status: Object) -> None:
        self._check()
        with self._moved:
            now = self._objects.get(key_of_object(pod))
            if now is None or uid_of(now) != uid_of(pod):
                raise NotFound(f"no pod of uid {uid_of(pod)}")
            if now.get("status") != status:
                self.put(with_fields(now, status=status))

    def report_many(self, reports: Sequence[tuple[Object, Object]]) -> None:
        for pod, status in reports:
            try:
                self.report(pod, status)
            except NotFound:
                continue

    def end_pods(self, pods: Sequence[Object]) -> None:
        self._check()
        for pod in pods:
            now = self.get(POD.resource, pod["metadata"]["namespace"], pod["metadata"]["name"])
            if now is not None and uid_of(now) == uid_of(pod) and not is_terminating(now):
                self.put(
                    with_metadata(now, deletionTimestamp="2026-01-01T00:00:00Z", deletionGracePeriodSeconds=5)
                )

    def confirm_deleted(self, pod: Object) -> None:
        self._check()
        with self._moved:
            now = self._objects.get(key_of_object(pod))
            if now is not None and uid_of(now) == uid_of(pod):
                self.remove(now)

    def volumes_to_reclaim(self, node: str) -> Sequence[Object]:
        return [
            volume
            for volume in self.list(VOLUME.resource)
            if is_terminating(volume)
            and DATA_FINALIZER in volume["metadata"].get("finalizers", ())
            and f"'{node}'" in str(volume["spec"].get("nodeAffinity"))
        ]

    def release_volume(self, node: str, volume: Object) -> None:
        self._check()
        with self._moved:
            now = self._objects.get(key_of_object(volume))
            if now is None or uid_of(now) != uid_of(volume):
                return
            kept = [each for each in now["metadata"].get("finalizers", ()) if each != DATA_FINALIZER]
            if kept:
                self.put(with_metadata(now, finalizers=kept))
            else:
                self.remove(now)

    def register_many(self, nodes: Sequence[Object]) -> None:
        for node in nodes:
            self.register(node)

    def heartbeat_many(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            self.heartbeat(node)

    def changed_pods(self, after: Position, timeout: float) -> tuple[Position, Sequence[Object]]:
        newest = self.wait(after, timeout)
        return newest, [pod for pod in self.list(POD.resource) if version_of(pod) > after]

    def confirm_many(self, pods: Sequence[Object]) -> None:
        for pod in pods:
            self.confirm_deleted(pod)

    def _check(self) -> None:
        if self._error is not None:
            self.refused += 1
            raise self._error


def eventually(question: Callable[[], T], seconds: float = 10.0) -> T:
    """Return the first true answer; fail with the last one after `seconds`."""
    deadline = time.monotonic() + seconds
    while not (answer := question()):
        assert time.monotonic() < deadline, f"still {answer!r} after {seconds} s"
        time.sleep(0.01)
    return answer


def a_node(name: str = "n1") -> Object:
    return {"apiVersion": NODE.api_version, "kind": "Node", "metadata": {"name": name}, "spec": {}}
