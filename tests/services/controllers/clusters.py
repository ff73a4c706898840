"""A cluster in one process: the real log, fold and commit, the controller under test, and a kubelet of a few lines.

Time stands still unless a test moves it. Nothing here knows the controller's rules.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from events.commit import Edges, Proposal
from events.memory import MemoryLog
from schemas.changes import Change, Create, Decision, Delete, Replace
from schemas.deletion import deletion_of
from schemas.envelopes import Actor
from schemas.objects import Object, name_of, uid_of, with_fields
from schemas.times import rfc3339
from services.controllers.statefulset import STATEFULSET, View
from tests.events.worlds import World, a_statefulset, with_image

KEY = "apps/statefulsets/default/db"
CONTROLLER = Actor("controller:statefulset")
NOON = 1_800_000_000_000
BAD = "db:bad"
"""An image that no node can pull."""


def a_set(image: str = "db:1", replicas: int = 3, **spec: Any) -> Object:
    return a_statefulset("db", image, replicas, **{"podManagementPolicy": "OrderedReady", **spec})


def rolling(**rolling_update: Any) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, **rolling_update}}


class Cluster:
    """A StatefulSet `db`, its controller and one node."""

    def __init__(self, workload: Object | None = None) -> None:
        self.now = NOON
        self.decisions: list[Decision] = []
        self.check: Callable[[View, Decision], None] = lambda _view, _decision: None
        clock = lambda: self.now  # noqa: E731
        self.world = World(MemoryLog(clock=clock), Edges(clock=clock))
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
    def pods(self) -> dict[str, Object]:
        return {name_of(pod): pod for pod in sorted(self.world.list("core/pods", "default"), key=name_of)}

    @property
    def claims(self) -> dict[str, Object]:
        return {name_of(claim): claim for claim in self.world.list("core/persistentvolumeclaims", "default")}

    @property
    def revisions(self) -> dict[str, int]:
        """Image -> number."""
        found = self.world.list("apps/controllerrevisions", "default")
        return {
            each["data"]["spec"]["template"]["spec"]["containers"][0]["image"]: each["revision"]
            for each in sorted(found, key=lambda each: each["revision"])
        }

    def images(self) -> dict[str, str]:
        """Pod -> image, of pods that are not on their way out."""
        return {
            name: pod["spec"]["containers"][0]["image"]
            for name, pod in self.pods.items()
            if "deletionTimestamp" not in pod["metadata"]
        }

    # The controller

    def view(self) -> View:
        view = STATEFULSET.view_of(self.world.state, KEY)
        assert view is not None
        return view

    def step(self) -> Decision:
        """Reconcile once and commit, as a worker does."""
        view = self.view()
        decision = STATEFULSET.reconcile(view, self.now)
        self.check(view, decision)
        self.commit(decision, self.guard())
        self.decisions.append(decision)
        return decision

    def guard(self) -> tuple[str, int]:
        """The guard of the set's key, as a worker reads it with its view."""
        name = f"guard/statefulset/{KEY}"
        return name, self.world.state.guards.get(name, 0)

    def commit(self, decision: Decision, guard: tuple[str, int]) -> None:
        """Commit a decision that was taken when `guard` was read; raises Conflict where it has become stale."""
        proposal = Proposal(decision.changes, decision.rests_on, guard)
        self.world.decide(lambda: proposal, attempts=1, actor=CONTROLLER)

    def reconcile(self) -> list[str]:
        """Reconcile until nothing changes; return what happened to pods, as `+db-0` and `-db-0`."""
        told = []
        for _ in range(50):
            decision = self.step()
            if not decision.changes:
                return told
            told += [what for change in decision.changes if (what := _told(change))]
        raise AssertionError(f"does not converge: {decision}")

    # The node

    def bind(self, name: str) -> None:
        pod = self.pods[name]
        self.change(pod, spec={**pod["spec"], "nodeName": "n1"})

    def report(self, name: str) -> None:
        """The kubelet's next report of a bound pod: Running and Ready, or that its image cannot be pulled."""
        image = self.pods[name]["spec"]["containers"][0]["image"]
        if image == BAD:
            waiting = {"waiting": {"reason": "ImagePullBackOff", "message": f"no such tag: {image}"}}
            self.set_status(name, "Pending", "False", [{"name": "web", "image": image, "state": waiting}])
        else:
            started = {
                "name": "web",
                "image": image,
                "ready": True,
                "restartCount": 0,
                "state": {"running": {}},
            }
            self.set_status(name, "Running", "True", [started])

    def set_status(self, name: str, phase: str, ready: str, containers: list[Object] | None = None) -> None:
        pod = self.pods[name]
        before = {each["type"]: each for each in pod["status"].get("conditions", ())}.get("Ready", {})
        since = before["lastTransitionTime"] if before.get("status") == ready else rfc3339(self.now)
        condition = {"type": "Ready", "status": ready, "lastTransitionTime": since}
        status = {"phase": phase, "conditions": [condition]}
        if containers is not None:
            status["containerStatuses"] = containers
        self.change(pod, status=status)

    def fail(self, name: str) -> None:
        self.set_status(name, "Failed", "False")

    def confirm(self, name: str) -> None:
        """The agent confirms that a terminating pod has ended."""
        self.world.commit(Delete(self.pods[name]))

    def work(self, name: str) -> bool:
        """The next thing that has to happen to a pod outside of the controller; False if nothing has."""
        pod = self.pods[name]
        if "deletionTimestamp" in pod["metadata"]:
            self.confirm(name)
        elif "nodeName" not in pod["spec"]:
            self.bind(name)
        elif not pod["status"].get("containerStatuses") and pod["status"]["phase"] == "Pending":
            self.report(name)
        else:
            return False
        return True

    def run(self) -> list[str]:
        """Let the controller and the node work until neither has anything to do; return what happened to pods."""
        told = self.reconcile()
        for _ in range(500):
            if sum(map(self.work, self.pods)) == 0:
                return told
            told += self.reconcile()
        raise AssertionError("the cluster does not come to rest")

    # People

    def change(self, obj: Object, **fields: Any) -> None:
        self.world.commit(Replace(obj, with_fields(obj, **fields)))

    def remove(self, obj: Object) -> None:
        self.world.commit(Delete(obj))

    def edit(self, **spec: Any) -> None:
        self.change(self.set, spec={**self.set["spec"], **spec})

    def set_image(self, image: str) -> None:
        self.world.commit(Replace(self.set, with_image(self.set, image)))

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        self.world.commit(deletion_of(self.pods[name], self.now, grace_seconds))

    def pass_time(self, seconds: float) -> None:
        self.now += int(seconds * 1000)


def _told(change: Change) -> str:
    match change:
        case Create(obj) if obj["kind"] == "Pod":
            return f"+{name_of(obj)}"
        case Delete(old) if old["kind"] == "Pod":
            return f"-{name_of(old)}"
        case Replace(old, new) if old["kind"] == "Pod" and "deletionTimestamp" in new["metadata"]:
            return f"-{name_of(old)}"
    return ""


def uids(cluster: Cluster) -> dict[str, str]:
    return {name: uid_of(pod) for name, pod in cluster.pods.items()}
