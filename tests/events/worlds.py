"""A log with a replica that keeps up, driven step by step: what most tests of the core need."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from typing import Any

from events.codec import Entry
from events.commit import Committed, Committer, Edges, Intent, Proposal
from events.fold import apply_entries
from events.log import Log
from events.memory import MemoryLog
from events.state import State
from schemas.changes import Change, Create
from schemas.envelopes import Actor
from schemas.objects import Object, with_fields

ALICE = Actor("socket:1000@host", "socket", "user:alice")


def a_namespace(name: str = "default") -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name},
        "spec": {"finalizers": ["kubernetes"]},
    }


def a_statefulset(name: str = "web", image: str = "web:1", replicas: int = 3, **spec: Any) -> Object:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "web", "image": image, "resources": {}}]},
            },
            "updateStrategy": {"type": "RollingUpdate"},
            **spec,
        },
        "status": {"replicas": 0},
    }


def with_image(workload: Object, image: str) -> Object:
    template = workload["spec"]["template"]
    containers = [{**template["spec"]["containers"][0], "image": image}]
    new_template = {**template, "spec": {**template["spec"], "containers": containers}}
    return with_fields(workload, spec={**workload["spec"], "template": new_template})


def a_bare_pod(name: str = "web-0", phase: str = "Pending", **metadata: Any) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"containers": [{"name": "web", "image": "web:1", "resources": {}}]},
        "status": {"phase": phase},
    }


class World:
    """A log, the state folded from it, and commits that see it at once."""

    def __init__(self, log: Log | None = None, edges: Edges | None = None) -> None:
        self.log = log or MemoryLog()
        self.log.create()
        self.state = State()
        self.catch_up()
        self.committer = Committer(self.log, self, lambda _: self.catch_up(), edges)
        self.commit(Create(a_namespace()))

    def get(self, key: str) -> Object | None:
        return self.state.get(key)

    def list(self, resource: str, namespace: str = "") -> Any:
        return self.state.list(resource, namespace)

    def the(self, key: str) -> Object:
        found = self.state.get(key)
        assert found is not None, key
        return found

    def catch_up(self) -> None:
        while entries := self.log.read(self.state.position, 1000):
            apply_entries(self.state, entries)

    def commit(self, *changes: Change, rests_on: Iterable[Object] = (), **intent: Any) -> Committed:
        return self.decide(lambda: Proposal(changes, tuple(rests_on)), attempts=1, **intent)

    def decide(self, decide: Callable[[], Proposal], attempts: int = 5, **intent: Any) -> Committed:
        command = intent.pop("command", None) or uuid.uuid4().hex
        committed = self.committer.commit(
            decide, Intent(intent.pop("actor", ALICE), command, **intent), attempts
        )
        self.catch_up()
        return committed

    def entries(self) -> list[Entry]:
        found: list[Entry] = []
        while chunk := self.log.read(found[-1].position if found else 0, 1000):
            found += chunk
        return found
