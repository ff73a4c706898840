"""Random histories of a small cluster, and what the projections of a log must be: an oracle that shares no code with
the effects.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from itertools import count
from typing import Any

import orjson
import redis

from events.codec import decode
from events.commit import Committed, Committer, Edges, Intent, Proposal
from events.fold import apply
from events.log import Log
from events.memory import MemoryLog, wall_clock
from events.state import State
from schemas.changes import Change, Create, Delete, Replace
from schemas.envelopes import Actor, Event
from schemas.kinds import CONTROLLER_REVISION, KINDS
from schemas.objects import Object, with_fields
from schemas.positions import stream_id_of
from schemas.times import rfc3339

USER = Actor("socket:1000@host", "socket", "alice")


class History:
    """A writer of a log, and the state after what it wrote."""

    def __init__(self, log: Log | None = None, clock: Callable[[], int] = wall_clock) -> None:
        self.log = log or MemoryLog("demo")
        self.log.create()
        self.state = State()
        self._numbers = count(1)
        edges = Edges(clock=clock, new_uid=lambda: f"uid-{next(self._numbers)}")
        self._committer = Committer(self.log, self.state, lambda _: None, edges)

    def commit(self, *changes: Change) -> Committed:
        """Commit one batch, and fold it."""
        intent = Intent(USER, f"command-{next(self._numbers)}")
        committed = self._committer.commit(lambda: Proposal(changes), intent)
        for entry in self.log.read(self.state.position, 1000):
            apply(self.state, decode(entry))
        return committed

    def get(self, key: str) -> Object:
        """Return an object that exists."""
        found = self.state.get(key)
        assert found is not None
        return found

    def begin(self) -> None:
        """Create the default namespace, two nodes and a set `db`."""
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "default"}}
        nodes = [
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}}
            for name in ("n1", "n2")
        ]
        self.commit(Create(namespace), *map(Create, nodes))
        self.commit(Create(a_set("db")))

    def scribble(self, dice: random.Random, batches: int) -> None:
        """Commit random batches: pods come, are bound, fail and go, sets are updated and deleted, revisions pruned."""
        for _ in range(batches):
            changes = {change.key: change for change in random_changes(self.state, dice)}
            self.commit(*changes.values())


def a_set(name: str, image: str = "db:1") -> Object:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"containers": [{"name": "c", "image": image}]},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"app": name}}, "template": template},
    }


def with_image(obj: Object, image: str) -> Object:
    template = obj["spec"]["template"]
    spec = {**template["spec"], "containers": [{"name": "c", "image": image}]}
    return with_fields(obj, spec={**obj["spec"], "template": {**template, "spec": spec}})


def a_bare_pod(name: str, owner: Object | None = None) -> Object:
    reference = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "db", "controller": True}
    owners = {"ownerReferences": [{**reference, "uid": owner["metadata"]["uid"]}]} if owner else {}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "default", **owners},
        "spec": {"containers": [{"name": "c", "image": "db:1"}]},
    }


def random_changes(state: State, dice: random.Random) -> Iterable[Change]:
    sets = sorted(state.list("apps/statefulsets"), key=lambda each: each["metadata"]["name"])
    if not sets or dice.random() < 0.05:
        name = f"set-{dice.randrange(3)}"
        if state.get(f"apps/statefulsets/default/{name}") is None:
            yield Create(a_set(name))
    for each in sets:
        yield from _changes_of_set(each, state, dice)
    for index in range(4):
        pod = state.get(f"core/pods/default/p{index}")
        if pod is None:
            yield Create(a_bare_pod(f"p{index}", dice.choice([*sets, None])))
        elif dice.random() < 0.6:
            yield _change_of_pod(pod, dice)


def _changes_of_set(each: Object, state: State, dice: random.Random) -> Iterable[Change]:
    roll = dice.random()
    revisions = [
        revision
        for revision in state.owned_by(each["metadata"]["uid"])
        if revision["kind"] == CONTROLLER_REVISION.kind
    ]
    if roll < 0.25:
        yield Replace(each, with_image(each, f"db:{dice.randrange(4)}"))
    elif roll < 0.6:
        status = {"replicas": 2, "readyReplicas": dice.randrange(3), "updatedReplicas": dice.randrange(3)}
        named = {"currentRevision": dice.choice("ab"), "updateRevision": "b"}
        observed = {"observedGeneration": each["metadata"]["generation"]}
        yield Replace(each, with_fields(each, status={**status, **named, **observed}))
    elif roll < 0.65:
        yield Delete(each)
    elif roll < 0.8 and len(revisions) > 1:
        yield Delete(min(revisions, key=lambda revision: revision["revision"]))


def _change_of_pod(pod: Object, dice: random.Random) -> Change:
    roll = dice.random()
    if roll < 0.2:
        return Delete(pod)
    if roll < 0.5:
        return Replace(pod, with_fields(pod, spec={**pod["spec"], "nodeName": dice.choice(["n1", "n2"])}))
    if roll < 0.6:
        metadata = {name: value for name, value in pod["metadata"].items() if name != "ownerReferences"}
        return Replace(pod, with_fields(pod, metadata=metadata))
    return Replace(pod, with_fields(pod, status={"phase": dice.choice(["Pending", "Running", "Failed"])}))


def events_of(log: Log) -> list[Event]:
    """Return all events of a log."""
    return [decode(entry) for entry in log.read(0, 1_000_000)]


def expected_views(log: Log) -> dict[str, Any]:
    """Return all that a generation must hold for a log, by name; rollouts only as far as the last object tells."""
    state = State()
    revisions: dict[str, dict[str, Any]] = {}
    numbers: dict[str, dict[str, str]] = {}
    changes: dict[str, list[Any]] = {}
    for event in events_of(log):
        apply(state, event)
        changes.setdefault(event.key, []).insert(0, _row(event))
        obj = state.get(event.key)
        if obj is not None and obj["kind"] == "ControllerRevision" and "ownerReferences" in obj["metadata"]:
            uid = obj["metadata"]["ownerReferences"][0]["uid"]
            revisions.setdefault(uid, {})[obj["metadata"]["name"]] = obj
            numbers.setdefault(uid, {})[str(obj["revision"])] = obj["metadata"]["name"]
    views: dict[str, Any] = {f"changes:{key}": rows[:100] for key, rows in changes.items()}
    views |= {f"revisions:{uid}": rows for uid, rows in revisions.items()}
    views |= {f"revision-numbers:{uid}": rows for uid, rows in numbers.items()}
    for kind in KINDS:
        if found := state.list(kind.resource):
            views[f"objects:{kind.resource}"] = {_field(obj): obj for obj in found}
    for node in ("", "n1", "n2"):
        if pods := state.pods_on(node):
            views[f"pods-on:{node}" if node else "unscheduled"] = {_field(pod) for pod in pods}
    for key, obj in state.objects.items():
        for reference in obj["metadata"].get("ownerReferences", ()):
            views.setdefault(f"owned-by:{reference['uid']}", set()).add(key)
    return views


def _field(obj: Object) -> str:
    metadata = obj["metadata"]
    return f"{metadata['namespace']}/{metadata['name']}" if "namespace" in metadata else metadata["name"]


def _row(event: Event) -> dict[str, str]:
    return {
        "position": stream_id_of(event.position),
        "time": rfc3339(event.position >> 20),
        "type": event.type,
        "actor": event.actor.name,
        "claim": event.actor.claim,
        "cause": stream_id_of(event.cause) if event.cause else "",
        "command": event.command,
    }


def actual_views(client: redis.Redis, cluster: str = "demo") -> dict[str, Any]:
    """Return all that the current generation holds, by name, as any program reads it; but no rollouts, no resources."""
    everything: Any = client
    generation = everything.hget(f"{{{cluster}}}:views", "generation").decode()
    prefix = f"{{{cluster}}}:views:{generation}:"
    names = {key.decode()[len(prefix) :]: key for key in everything.scan_iter(match=prefix + "*")}
    return {
        name: _value(everything, key, name)
        for name, key in names.items()
        if not name.startswith(("rollout:", "resources"))
    }


def _value(client: Any, key: bytes, name: str) -> Any:
    kind = client.type(key)
    if kind == b"set":
        return {member.decode() for member in client.smembers(key)}
    if kind == b"list":
        return [orjson.loads(row) for row in client.lrange(key, 0, -1)]
    plain = name.startswith("revision-numbers")
    return {
        field.decode(): value.decode() if plain else orjson.loads(value)
        for field, value in client.hgetall(key).items()
    }
