"""The StatefulSets of a load test: what they are made of, what is done with them, and when each is settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from schemas.canonical import canonical
from schemas.changes import Change, Create, Replace
from schemas.deletion import BACKGROUND, deletion_of
from schemas.kinds import STATEFUL_SET
from schemas.objects import Key, Object, key_of, with_fields
from schemas.times import Milliseconds

NAMESPACE = "default"


class Scenario(StrEnum):
    """Which pod management policies the sets have."""

    MIXED = "mixed"
    PARALLEL = "parallel"
    ORDERED = "ordered"


POLICIES = {
    Scenario.MIXED: ("Parallel", "OrderedReady"),
    Scenario.PARALLEL: ("Parallel",),
    Scenario.ORDERED: ("OrderedReady",),
}


@dataclass(frozen=True, slots=True)
class Phase:
    """One thing done with sets at once.

    change    (set as it is, now) -> what to do with it
    pods      how many pods a set of `replicas` replicas makes or ends in it
    deletes   whether the sets are gone after it
    """

    name: str
    change: Callable[[Object, Milliseconds], Change]
    pods: Callable[[int], int]
    every: int = 1
    deletes: bool = False


def phases(replicas: int) -> tuple[Phase, ...]:
    """Return what is done with sets of `replicas` replicas after they were created, in order."""
    more = max(1, replicas // 2)
    return (
        Phase("roll", lambda old, _: Replace(old, _with_image(old, "app:2")), lambda count: 2 * count),
        Phase("scale up", lambda old, _: Replace(old, _with_replicas(old, replicas + more)), lambda _: more),
        Phase("scale down", lambda old, _: Replace(old, _with_replicas(old, replicas)), lambda _: more),
        Phase("delete half", _deletion, lambda count: count, every=2, deletes=True),
    )


def key_of_set(name: str) -> Key:
    """Return the key of a set of the load test."""
    return key_of(STATEFUL_SET.resource, NAMESPACE, name)


def creations(count: int, replicas: int, scenario: Scenario) -> list[Change]:
    """Return the creations of `count` sets, the policies of the scenario in turn."""
    policies = islice(cycle(POLICIES[scenario]), count)
    return [Create(a_set(f"load-{index}", replicas, policy)) for index, policy in enumerate(policies)]


def a_set(name: str, replicas: int, policy: str) -> Object:
    """Return a StatefulSet of one container, no claims, as the API would store it."""
    labels = {"app": name}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "app", "image": "app:1"}], "terminationGracePeriodSeconds": 5},
    }
    spec = {
        "serviceName": name,
        "replicas": replicas,
        "podManagementPolicy": policy,
        "selector": {"matchLabels": labels},
        "template": template,
    }
    manifest = {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": name, "namespace": NAMESPACE},
    }
    return canonical({**manifest, "spec": spec}).object


def is_settled(obj: Object) -> bool:
    """Say whether a set has come to rest as its spec says: every pod Ready and of the update revision."""
    status, replicas = obj.get("status") or {}, obj["spec"]["replicas"]
    counts = (status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas"))
    return (
        status.get("observedGeneration") == obj["metadata"].get("generation")
        and all(count == replicas for count in counts)
        and status.get("currentRevision") == status.get("updateRevision")
    )


def unsettled(keys: Sequence[Key], get: Callable[[Key], Object | None], deletes: bool) -> list[Key]:
    """Return the keys of the sets that are not where a phase is to bring them."""
    found = ((key, get(key)) for key in keys)
    return [key for key, obj in found if (obj is not None if deletes else obj is None or not is_settled(obj))]


def _with_image(old: Object, image: str) -> Object:
    spec, template = old["spec"], old["spec"]["template"]
    containers = [{**each, "image": image} for each in template["spec"]["containers"]]
    changed = {**template, "spec": {**template["spec"], "containers": containers}}
    return with_fields(old, spec={**spec, "template": changed})


def _with_replicas(old: Object, replicas: int) -> Object:
    return with_fields(old, spec={**old["spec"], "replicas": replicas})


def _deletion(old: Object, now: Milliseconds) -> Change:
    return deletion_of(old, now, None, BACKGROUND)
