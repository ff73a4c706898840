"""The sets of a load test: what they are made of, what is done with them, and when each is settled."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import cycle, islice

from schemas.canonical import canonical
from schemas.changes import Change, Create, Replace
from schemas.deletion import BACKGROUND, deletion_of
from schemas.kinds import DAEMON_SET, STATEFUL_SET
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
    pods      how many pods a set of so many pods makes or ends in it
    deletes   whether the sets are gone after it
    daemons   whether it is for DaemonSets too
    group     what a profile calls it
    """

    name: str
    group: str
    change: Callable[[Object, Milliseconds], Change]
    pods: Callable[[int], int]
    every: int = 1
    deletes: bool = False
    daemons: bool = False


def phases(replicas: int) -> tuple[Phase, ...]:
    """Return what is done with sets of `replicas` replicas after they were created, in order."""
    more = max(1, replicas // 2)
    return (
        Phase(
            "roll",
            "roll",
            lambda old, _: Replace(old, with_image(old, "app:2")),
            lambda count: 2 * count,
            daemons=True,
        ),
        Phase(
            "scale up",
            "scale",
            lambda old, _: Replace(old, with_replicas(old, replicas + more)),
            lambda _: more,
        ),
        Phase(
            "scale down", "scale", lambda old, _: Replace(old, with_replicas(old, replicas)), lambda _: more
        ),
        Phase("delete half", "delete", _deletion, lambda count: count, every=2, deletes=True),
    )


def key_of_set(name: str) -> Key:
    """Return the key of a StatefulSet of the load test."""
    return key_of(STATEFUL_SET.resource, NAMESPACE, name)


def key_of_daemons(name: str) -> Key:
    """Return the key of a DaemonSet of the load test."""
    return key_of(DAEMON_SET.resource, NAMESPACE, name)


def creations(count: int, replicas: int, scenario: Scenario) -> list[Change]:
    """Return the creations of `count` sets, the policies of the scenario in turn."""
    policies = islice(cycle(POLICIES[scenario]), count)
    return [Create(a_set(f"load-{index}", replicas, policy)) for index, policy in enumerate(policies)]


def a_set(name: str, replicas: int, policy: str) -> Object:
    """Return a StatefulSet of one container, no claims, as the API would store it."""
    spec = {
        "serviceName": name,
        "replicas": replicas,
        "podManagementPolicy": policy,
        **_pods_of(name),
    }
    return canonical({**_head(STATEFUL_SET.kind, name), "spec": spec}).object


def a_daemonset(name: str, max_unavailable: int | str = 1) -> Object:
    """Return a DaemonSet of one container for every node, as the API would store it."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": max_unavailable}}
    spec = {"updateStrategy": strategy, **_pods_of(name)}
    return canonical({**_head(DAEMON_SET.kind, name), "spec": spec}).object


def with_image(old: Object, image: str) -> Object:
    """Return a set whose pods run another image: a rollout."""
    spec, template = old["spec"], old["spec"]["template"]
    containers = [{**each, "image": image} for each in template["spec"]["containers"]]
    changed = {**template, "spec": {**template["spec"], "containers": containers}}
    return with_fields(old, spec={**spec, "template": changed})


def with_replicas(old: Object, replicas: int) -> Object:
    """Return a StatefulSet of another size."""
    return with_fields(old, spec={**old["spec"], "replicas": replicas})


def with_max_unavailable(old: Object, limit: int | str) -> Object:
    """Return a DaemonSet that replaces so many pods at a time."""
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": limit}}
    return with_fields(old, spec={**old["spec"], "updateStrategy": strategy})


def is_settled(obj: Object) -> bool:
    """Say whether a set has come to rest as its spec says: every pod Ready and of the update revision."""
    status = obj.get("status") or {}
    is_current = status.get("observedGeneration") == obj["metadata"].get("generation")
    return is_current and (_is_daemons_at_rest if obj["kind"] == DAEMON_SET.kind else _is_at_rest)(
        obj, status
    )


def unsettled(keys: Sequence[Key], get: Callable[[Key], Object | None], deletes: bool) -> list[Key]:
    """Return the keys of the sets that are not where a phase is to bring them."""
    found = ((key, get(key)) for key in keys)
    return [key for key, obj in found if (obj is not None if deletes else obj is None or not is_settled(obj))]


def _is_at_rest(obj: Object, status: Object) -> bool:
    counts = (status.get(name, 0) for name in ("replicas", "readyReplicas", "updatedReplicas"))
    return all(count == obj["spec"]["replicas"] for count in counts) and status.get(
        "currentRevision"
    ) == status.get("updateRevision")


def _is_daemons_at_rest(_obj: Object, status: Object) -> bool:
    wanted = status.get("desiredNumberScheduled", 0)
    names = ("currentNumberScheduled", "updatedNumberScheduled", "numberReady", "numberAvailable")
    return wanted > 0 and all(status.get(name, 0) == wanted for name in names)


def _head(kind: str, name: str) -> Object:
    return {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE}}


def _pods_of(name: str) -> Object:
    """Return selector and template of a set."""
    labels = {"app": name}
    spec = {"containers": [{"name": "app", "image": "app:1"}], "terminationGracePeriodSeconds": 5}
    return {
        "selector": {"matchLabels": labels},
        "template": {"metadata": {"labels": labels}, "spec": spec},
    }


def _deletion(old: Object, now: Milliseconds) -> Change:
    return deletion_of(old, now, None, BACKGROUND)
