"""Nodes, a DaemonSet and its controller in one process: the real log, fold and commit, and a world of a few lines.

Time stands still unless a test moves it. Nothing here knows the controller's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from events.commit import Edges, Proposal
from events.memory import MemoryLog
from schemas.changes import Change, Create, Decision, Delete, Replace
from schemas.daemon_pods import target_node_of
from schemas.deletion import deletion_of
from schemas.envelopes import Actor
from schemas.objects import Object, name_of, uid_of, with_fields, with_metadata
from schemas.times import rfc3339
from services.commands.commands import Undo
from services.commands.rollouts import decide_undo
from services.controllers.controller import Controller
from services.controllers.daemonset import View, daemonset
from tests.builders import a_node
from tests.events.worlds import World, with_image

KEY = "apps/daemonsets/default/fluentd"
CONTROLLER = Actor("controller:daemonset")
NOON = 1_800_000_000_000
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


class Fleet:
    """A DaemonSet `fluentd`, its controller and nodes `n1`, `n2`, ..."""

    def __init__(self, workload: Object | None = None, nodes: int = 3) -> None:
        self.now = NOON
        self.decisions: list[Decision] = []
        self.check: Callable[[View, Decision], None] = lambda _view, _decision: None
        self.controller: Controller[View] = daemonset()
        clock = lambda: self.now  # noqa: E731
        self.world = World(MemoryLog(clock=clock), Edges(clock=clock))
        for number in range(1, nodes + 1):
            self.join(f"n{number}")
        if workload is not None:
            self.world.commit(Create(workload))

    @property
    def set(self) -> Object:
        return self.world.the(KEY)

    @property
    def status(self) -> Object:
        status: Object = self.set["status"]
        return status

    @property
    def pods(self) -> list[Object]:
        return sorted(
            self.world.list("core/pods", "default"), key=lambda pod: (target_node_of(pod), name_of(pod))
        )

    @property
    def revisions(self) -> dict[str, int]:
        """Image -> number."""
        found = self.world.list("apps/controllerrevisions", "default")
        return {
            each["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: each["revision"]
            for each in sorted(found, key=lambda each: each["revision"])
        }

    def node(self, name: str) -> Object:
        return self.world.the(f"core/nodes/{name}")

    def pod_on(self, node: str) -> Object:
        (found,) = [pod for pod in self.pods if target_node_of(pod) == node]
        return found

    def shown(self) -> list[str]:
        """`n1 fluentd:1 Running`, in the order of the nodes; a `-` marks pods on their way out."""
        return [
            f"{target_node_of(pod)} {'-' if _leaves(pod) else ''}{pod['spec']['containers'][0]['image']} "
            f"{'Ready' if _is_ready(pod) else pod['status']['phase']}"
            for pod in self.pods
        ]

    def images(self) -> dict[str, list[str]]:
        """Node -> images of its pods that are not on their way out."""
        found: dict[str, list[str]] = {}
        for pod in self.pods:
            if not _leaves(pod):
                found.setdefault(target_node_of(pod), []).append(pod["spec"]["containers"][0]["image"])
        return found

    # The controller

    def view(self) -> View:
        view = self.controller.view_of(self.world.state, KEY)
        assert view is not None
        return view

    def step(self) -> Decision:
        """Reconcile once and commit, as a worker does."""
        view = self.view()
        decision = self.controller.reconcile(view, self.now)
        self.check(view, decision)
        self.commit(decision, self.guard())
        self.decisions.append(decision)
        return decision

    def guard(self) -> tuple[str, int]:
        name = f"guard/daemonset/{KEY}"
        return name, self.world.state.guards.get(name, 0)

    def commit(self, decision: Decision, guard: tuple[str, int]) -> None:
        proposal = Proposal(decision.changes, decision.rests_on, guard)
        self.world.decide(lambda: proposal, attempts=1, actor=CONTROLLER)

    def reconcile(self) -> list[str]:
        """Reconcile until nothing changes; return what happened to pods, as `+n1` and `-n1`."""
        told: list[str] = []
        for _ in range(50):
            decision = self.step()
            if not decision.changes:
                return told
            told += sorted(what for change in decision.changes if (what := _told(change)))
        raise AssertionError(f"does not converge: {decision}")

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
        if _leaves(pod):
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

    def change(self, obj: Object, **fields: Any) -> None:
        self.world.commit(Replace(obj, with_fields(obj, **fields)))

    def edit(self, **spec: Any) -> None:
        self.change(self.set, spec={**self.set["spec"], **spec})

    def annotate(self, **annotations: str) -> None:
        self.world.commit(Replace(self.set, with_metadata(self.set, annotations=annotations)))

    def set_image(self, image: str) -> None:
        self.world.commit(Replace(self.set, with_image(self.set, image)))

    def undo(self) -> None:
        self.world.commit(decide_undo(Undo(KEY, None), self))

    def delete(self, pod: Object, grace_seconds: int | None = None) -> None:
        self.world.commit(deletion_of(pod, self.now, grace_seconds))

    def remove(self, obj: Object) -> None:
        self.world.commit(Delete(obj))

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)

    # What an undo reads

    def get(self, key: str) -> Object | None:
        return self.world.get(key)

    def list(self, resource: str, namespace: str = "") -> Any:
        return self.world.list(resource, namespace)

    def kept_revisions(self, uid: str) -> tuple[Object, ...]:
        return ()

    def kept_revision(self, uid: str, number: int) -> Object | None:
        return None


def _leaves(pod: Object) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _is_ready(pod: Object) -> bool:
    return any(
        each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", ())
    )


def _told(change: Change) -> str:
    match change:
        case Create(obj) if obj["kind"] == "Pod":
            return f"+{target_node_of(obj)}"
        case Delete(old) if old["kind"] == "Pod":
            return f"-{target_node_of(old)}"
        case Replace(old, new) if old["kind"] == "Pod" and _leaves(new) and not _leaves(old):
            return f"-{target_node_of(old)}"
    return ""


def uids(fleet: Fleet) -> dict[str, str]:
    return {target_node_of(pod): uid_of(pod) for pod in fleet.pods}
