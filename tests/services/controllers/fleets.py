"""Nodes, a DaemonSet and its controller in one process: the real log, fold and commit, and a world of a few lines.

Time stands still unless a test moves it. Nothing here knows the controller's rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from schemas.changes import Change, Create, Delete, Replace
from schemas.daemon_pods import target_node_of
from schemas.deletion import deletion_of
from schemas.objects import Object, name_of, uid_of, with_metadata
from schemas.times import rfc3339
from services.commands.commands import Undo
from services.commands.rollouts import decide_undo
from services.controllers.daemonset import View, daemonset
from tests.builders import a_node
from tests.services.controllers.rigs import Rig, leaves

KEY = "apps/daemonsets/default/fluentd"
LABELS = {"name": "fluentd-elasticsearch"}


def a_daemonset(image: str = "fluentd:1", template: Object | None = None, **spec: Any) -> Object:
    """The set `fluentd`; `template` is added to its pods' spec."""
    container = {"name": "fluentd", "image": image, "resources": {}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "fluentd", "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {"containers": [container], "restartPolicy": "Always", **(template or {})},
            },
            "updateStrategy": rolling(),
            "revisionHistoryLimit": 10,
            **spec,
        },
        "status": {},
    }


def rolling(unavailable: int | str = 1, surge: int | str = 0) -> Object:
    return {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": unavailable, "maxSurge": surge},
    }


def tolerates(key: str = "", effect: str = "") -> Object:
    given = {"key": key, "operator": "Exists", "effect": effect}
    return {name: value for name, value in given.items() if value}


class Fleet(Rig[View]):
    """A DaemonSet `fluentd`, its controller and nodes `n1`, `n2`, ..."""

    def __init__(self, workload: Object | None = None, nodes: int = 3) -> None:
        super().__init__(daemonset(), KEY)
        for number in range(1, nodes + 1):
            self.join(f"n{number}")
        if workload is not None:
            self.world.commit(Create(workload))

    def told(self, changes: Sequence[Change]) -> list[str]:
        return sorted(super().told(changes))

    def place_of(self, pod: Object) -> str:
        return target_node_of(pod)

    @property
    def pods(self) -> list[Object]:
        return sorted(
            self.world.list("core/pods", "default"), key=lambda pod: (target_node_of(pod), name_of(pod))
        )

    def node(self, name: str) -> Object:
        return self.world.the(f"core/nodes/{name}")

    def pod_on(self, node: str) -> Object:
        (found,) = [pod for pod in self.pods if target_node_of(pod) == node]
        return found

    def shown(self) -> list[str]:
        """`n1 fluentd:1 Running`, in the order of the nodes; a `-` marks pods on their way out."""
        return [
            f"{target_node_of(pod)} {'-' if leaves(pod) else ''}{pod['spec']['containers'][0]['image']} "
            f"{'Ready' if _is_ready(pod) else pod['status']['phase']}"
            for pod in self.pods
        ]

    def images(self) -> dict[str, list[str]]:
        """Node -> images of its pods that are not on their way out."""
        found: dict[str, list[str]] = {}
        for pod in self.pods:
            if not leaves(pod):
                found.setdefault(target_node_of(pod), []).append(pod["spec"]["containers"][0]["image"])
        return found

    @property
    def waiting_for(self) -> str:
        return self.decisions[-1].waiting_for

    # Nodes and their agents

    def join(self, name: str, **node: Any) -> None:
        made = a_node(name, **node)
        for condition in made["status"]["conditions"]:
            condition["lastTransitionTime"] = rfc3339(self.now)
        metadata = {name: value for name, value in made["metadata"].items() if name in ("name", "labels")}
        self.world.commit(Create({**made, "metadata": metadata}))

    def set_ready(self, name: str, ready: str) -> None:
        node = self.node(name)
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(self.now)}
        self.change(node, status={**node["status"], "conditions": [condition]})

    def taint(self, name: str, key: str, effect: str) -> None:
        node = self.node(name)
        taints = [*(node["spec"].get("taints") or ()), {"key": key, "effect": effect}]
        self.change(node, spec={**node["spec"], "taints": taints})

    def label(self, name: str, **labels: str | None) -> None:
        node = self.node(name)
        merged = {**node["metadata"]["labels"], **labels}
        kept = {key: value for key, value in merged.items() if value is not None}
        self.world.commit(Replace(node, with_metadata(node, labels=kept)))

    def bind(self, pod: Object) -> None:
        self.change(pod, spec={**pod["spec"], "nodeName": target_node_of(pod)})

    def set_status(self, pod: Object, phase: str, ready: str) -> None:
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": rfc3339(self.now)}
        self.change(pod, status={"phase": phase, "conditions": [condition]})

    def fail(self, node: str) -> None:
        self.set_status(self.pod_on(node), "Failed", "False")

    def work(self, pod: Object) -> bool:
        """The next thing that has to happen to a pod outside of the controller; False if nothing has."""
        if leaves(pod):
            self.world.commit(Delete(pod))
        elif "nodeName" not in pod["spec"]:
            self.bind(pod)
        elif pod["status"]["phase"] == "Pending":
            self.set_status(pod, "Running", "True")
        else:
            return False
        return True

    def run(self, without: tuple[str, ...] = ()) -> list[str]:
        """Let controller and agents work until none has anything to do; return what happened to pods.

        The agents of the nodes in `without` do nothing.
        """
        told = self.reconcile()
        for _ in range(500):
            if sum(self.work(pod) for pod in self.pods if target_node_of(pod) not in without) == 0:
                return told
            told += self.reconcile()
        raise AssertionError("the fleet does not come to rest")

    # People

    def annotate(self, **annotations: str) -> None:
        self.world.commit(Replace(self.set, with_metadata(self.set, annotations=annotations)))

    def undo(self) -> None:
        self.world.commit(decide_undo(Undo(KEY, None), self))

    def delete(self, pod: Object, grace_seconds: int | None = None) -> None:
        self.world.commit(deletion_of(pod, self.now, grace_seconds))

    # What an undo reads

    def get(self, key: str) -> Object | None:
        return self.world.get(key)

    def list(self, resource: str, namespace: str = "") -> Any:
        return self.world.list(resource, namespace)

    def kept_revisions(self, uid: str) -> tuple[Object, ...]:
        return ()

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return None


def _is_ready(pod: Object) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ())
    )


def uids(fleet: Fleet) -> dict[str, str]:
    return {target_node_of(pod): uid_of(pod) for pod in fleet.pods}
