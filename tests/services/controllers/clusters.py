"""A cluster in one process: the real log, fold and commit, the controller under test, and a kubelet of a few lines.

Time stands still unless a test moves it. Nothing here knows the controller's rules.
"""

from __future__ import annotations

from typing import Any

from schemas.changes import Create, Delete
from schemas.deletion import deletion_of
from schemas.objects import Object, name_of, uid_of
from schemas.times import rfc3339
from services.controllers.statefulset import View, statefulset
from tests.events.worlds import a_statefulset
from tests.services.controllers.rigs import Rig

KEY = "apps/statefulsets/default/db"
BAD = "db:bad"
"""An image that no node can pull."""


def a_set(image: str = "db:1", replicas: int = 3, **spec: Any) -> Object:
    return a_statefulset("db", image, replicas, **{"podManagementPolicy": "OrderedReady", **spec})


def rolling(**rolling_update: Any) -> Object:
    return {"type": "RollingUpdate", "rollingUpdate": {"partition": 0, **rolling_update}}


class Cluster(Rig[View]):
    """A StatefulSet `db`, its controller and one node."""

    def __init__(self, workload: Object | None = None) -> None:
        super().__init__(statefulset(), KEY)
        if workload is not None:
            self.world.commit(Create(workload))

    @property
    def pods(self) -> dict[str, Object]:
        return {name_of(pod): pod for pod in sorted(self.world.list("core/pods", "default"), key=name_of)}

    @property
    def claims(self) -> dict[str, Object]:
        return {name_of(claim): claim for claim in self.world.list("core/persistentvolumeclaims", "default")}

    def images(self) -> dict[str, str]:
        """Pod -> image, of pods that are not on their way out."""
        return {
            name: pod["spec"]["containers"][0]["image"]
            for name, pod in self.pods.items()
            if "deletionTimestamp" not in pod["metadata"]
        }

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

    def delete(self, name: str, grace_seconds: int | None = None) -> None:
        self.world.commit(deletion_of(self.pods[name], self.now, grace_seconds))


def uids(cluster: Cluster) -> dict[str, str]:
    return {name: uid_of(pod) for name, pod in cluster.pods.items()}
