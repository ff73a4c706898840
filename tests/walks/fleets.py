"""A control plane with DaemonSets on nodes that come and go: the cluster of the other walks, and what befalls nodes."""

from __future__ import annotations

import random
from typing import Any

from schemas.changes import Create, Delete, Replace
from schemas.daemon_pods import target_node_of
from schemas.objects import (
    Object,
    is_terminating,
    key_of,
    labels_of,
    name_of,
    uid_of,
    with_fields,
    with_metadata,
)
from schemas.taints import ready_status_of
from schemas.times import rfc3339
from services.controllers.controller import Controller
from services.controllers.daemonset import daemonset
from services.controllers.garbage import GARBAGE
from services.scheduler.controller import scheduler
from services.worker import Reconciler
from tests.builders import a_node
from tests.services.controllers.fleets import a_daemonset
from tests.walks.clusters import Cluster, SteppedReplica, is_ready

NODES = tuple(f"n{number}" for number in range(6))
SETS = ("logs", "network")
TAINTS = (("gpu", "NoSchedule"), ("gpu", "NoExecute"))


def controllers() -> tuple[Controller[Any], ...]:
    return daemonset(), scheduler(), GARBAGE


class FleetCluster(Cluster):
    """A cluster whose nodes join, die, return, are labelled, tainted, cordoned and removed."""

    def __init__(self, seed: int, loss: float = 0.2) -> None:
        super().__init__(seed, nodes=0, loss=loss)
        self.controllers = controllers()
        for name in NODES[:3]:
            self.join(name)

    def _worker(self) -> Reconciler:
        replica = SteppedReplica(self.log, every=1.0)
        replica.load()
        return Reconciler(self.log, replica, self.queue, controllers(), self.edges, lambda: None)  # type: ignore[arg-type]

    def node(self, name: str) -> Object | None:
        return self.get(f"core/nodes/{name}")

    def join(self, name: str) -> bool:
        made = a_node(name, labels={"zone": self.dice.choice("ab")})
        made["status"]["conditions"] = [self._ready("True")]
        metadata = {field: made["metadata"][field] for field in ("name", "labels")}
        return self.try_commit(Create({**made, "metadata": metadata}))

    def set_ready(self, node: Object, ready: str) -> bool:
        return self.try_commit(
            Replace(node, with_fields(node, status={**node["status"], "conditions": [self._ready(ready)]}))
        )

    def die(self, node: Object) -> bool:
        """The node is not heard of any more: neither it nor its pods count as Ready."""
        if not self.set_ready(node, "Unknown"):
            return False
        for pod in self.state.pods_on(name_of(node)):
            if is_ready(pod):
                status = {**pod["status"], "conditions": [self._ready("False")]}
                self.try_commit(Replace(pod, with_fields(pod, status=status)), actor="controller:nodes")
        return True

    def befall(self, dice: random.Random) -> bool:
        """Something happens to a node."""
        name = dice.choice(NODES)
        node = self.node(name)
        if node is None:
            return self.join(name)
        spec = node["spec"]
        match dice.randrange(7):
            case 0 | 1:
                return self.die(node) if ready_status_of(node) == "True" else self.revive(node)
            case 2:
                labels = {**labels_of(node), "zone": dice.choice("abc")}
                return self.try_commit(Replace(node, with_metadata(node, labels=labels)))
            case 3:
                key, effect = dice.choice(TAINTS)
                return self.try_commit(
                    Replace(
                        node, with_fields(node, spec={**spec, "taints": [{"key": key, "effect": effect}]})
                    )
                )
            case 4:
                return self.try_commit(Replace(node, with_fields(node, spec={})))
            case 5:
                return self.try_commit(Replace(node, with_fields(node, spec={**spec, "unschedulable": True})))
            case _:
                return self.try_commit(Delete(node))

    def heal(self) -> None:
        """Bring every node that is there, and its pods, back to life."""
        for node in self.state.list("core/nodes"):
            if ready_status_of(node) != "True":
                assert self.set_ready(node, "True")
            self.report(node)

    def revive(self, node: Object) -> bool:
        """The node is heard of again, and says that its pods run."""
        if not self.set_ready(node, "True"):
            return False
        self.report(node)
        return True

    def report(self, node: Object) -> None:
        """Report those pods of a node that run as Ready."""
        for pod in self.state.pods_on(name_of(node)):
            if pod["status"].get("phase") == "Running" and not is_ready(pod):
                status = {**pod["status"], "conditions": [self._ready("True")]}
                self.try_commit(Replace(pod, with_fields(pod, status=status)), actor=f"node:{name_of(node)}")

    def _has_work(self, pod: Object) -> bool:
        """A dead node's agent does nothing; the pods that end on a node that is gone are collected."""
        node = self.node(pod["spec"].get("nodeName", ""))
        if node is None:
            return is_terminating(pod)
        return ready_status_of(node) == "True" and super()._has_work(pod)

    def _ready(self, status: str) -> Object:
        return {"type": "Ready", "status": status, "lastTransitionTime": rfc3339(self.now)}


def daemon_key(name: str) -> str:
    return key_of("apps/daemonsets", "default", name)


def a_set(name: str, dice: random.Random) -> Object:
    """The log collector asks for a zone now and then; the network agent tolerates everything and surges."""
    labels = {"name": name}
    made = a_daemonset(
        f"{name}:0",
        updateStrategy=dice.choice(
            [
                _rolling(dice.choice([1, 2, "50%"]), 0),
                _rolling(0, dice.choice([1, "50%"])),
                {"type": "OnDelete"},
            ]
        ),
        minReadySeconds=dice.choice([0, 0, 5]),
        revisionHistoryLimit=dice.choice([0, 2, 10]),
    )
    template = made["spec"]["template"]
    asks: Object = {"nodeSelector": {"zone": "a"}} if dice.random() < 0.3 else {}
    if name == "network":
        asks |= {"hostNetwork": True, "tolerations": [{"operator": "Exists"}]}
    spec = {
        **made["spec"],
        "selector": {"matchLabels": labels},
        "template": {**template, "metadata": {"labels": labels}, "spec": {**template["spec"], **asks}},
    }
    return {**made, "metadata": {"name": name, "namespace": "default"}, "spec": spec}


def daemons_of(pods: list[Object], workload: Object, node: str) -> list[Object]:
    """Return the pods of a set that are bound to a node or meant for it."""
    uid = uid_of(workload)
    return [
        pod
        for pod in pods
        if target_node_of(pod) == node
        and any(each["uid"] == uid for each in pod["metadata"].get("ownerReferences", ()))
    ]


def names(pods: list[Object]) -> list[str]:
    return sorted(map(name_of, pods))


def _rolling(unavailable: int | str, surge: int | str) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge}}
