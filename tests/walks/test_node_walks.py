"""Random walks over nodes that are cut off, die, return and are deleted: no ordinal ever runs twice.

What runs is kept apart from what is written: a node that is cut off runs its pods on, one that lost its power does
not. A person deletes a node, or taints it out-of-service, only where it has no power.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from schemas.changes import Create, Delete, Replace
from schemas.objects import Object, is_terminating, name_of, uid_of, with_fields
from schemas.taints import OUT_OF_SERVICE, ready_status_of
from services.agent.statuses import is_marked_with_its_node
from services.controllers.nodes import NODES, Pulse, heartbeats
from services.worker import Reconciler
from tests.builders import a_node
from tests.events.worlds import a_statefulset
from tests.walks.clusters import Cluster, SteppedReplica, _as_new, owned_pods, set_key

GRACE = 40_000
NODE_NAMES = ("n0", "n1", "n2", "n3")
STEPS = 400


class Machines(Cluster):
    """A cluster whose nodes can be cut off and lose their power."""

    def __init__(self, seed: int) -> None:
        self.cut: dict[str, int] = {}
        self.dark: set[str] = set()
        self.running: dict[str, tuple[str, str]] = {}
        """uid of each pod whose processes run -> (node, name)."""
        super().__init__(seed, nodes=len(NODE_NAMES))
        self.controllers = (*self.controllers, NODES, heartbeats(self.listen))
        self.workers = [self._worker() for _ in self.workers]

    def listen(self, nodes: Sequence[str]) -> Pulse:
        silent = {name for name, since in self.cut.items() if self.now - since >= GRACE}
        return Pulse(frozenset(nodes) - silent, GRACE, GRACE)

    def sync(self) -> None:
        """Let what runs on the nodes that are reached be what is written."""
        pods = {uid_of(pod): pod for pod in self.pods()}
        for uid, (node, _) in list(self.running.items()):
            if node not in self.cut and uid not in pods:
                del self.running[uid]
        for uid, pod in pods.items():
            node = pod["spec"].get("nodeName", "")
            if node and node not in self.cut and pod["status"].get("phase") == "Running":
                self.running[uid] = (node, name_of(pod))

    def walk_nodes(self) -> None:
        name = self.dice.choice(NODE_NAMES)
        node = self.get(f"core/nodes/{name}")
        match self.dice.randrange(5):
            case 0 if name not in self.cut:
                self.cut[name] = self.now
            case 1 if name not in self.cut:
                self.cut[name] = self.now
                self.dark.add(name)
                self.running = {uid: place for uid, place in self.running.items() if place[0] != name}
            case 2 if name in self.cut:
                self.heal(name)
            case 3 if name in self.dark and node is not None:
                self.try_commit(Delete(node))
            case 4 if name in self.dark and node is not None and ready_status_of(node) == "Unknown":
                taints = [*node["spec"].get("taints", ()), {"key": OUT_OF_SERVICE, "effect": "NoExecute"}]
                if OUT_OF_SERVICE not in {taint["key"] for taint in taints[:-1]}:
                    self.try_commit(Replace(node, with_fields(node, spec={**node["spec"], "taints": taints})))

    def heal(self, name: str) -> None:
        """Bring a node back: its agent registers it where it is gone; a person takes back what he said of it."""
        self.cut.pop(name, None)
        self.dark.discard(name)
        node = self.get(f"core/nodes/{name}")
        if node is None:
            self.commit(Create(_as_new(a_node(name, cpu="2"))))
            return
        taints = [each for each in node["spec"].get("taints", ()) if each["key"] != OUT_OF_SERVICE]
        spec = {field: value for field, value in node["spec"].items() if field != "taints"}
        self.commit(Replace(node, with_fields(node, spec={**spec, "taints": taints} if taints else spec)))

    def _has_work(self, pod: Object) -> bool:
        node = pod["spec"].get("nodeName", "")
        return node not in self.cut and (super()._has_work(pod) or is_marked_with_its_node(pod))

    def _worker(self) -> Reconciler:
        replica = SteppedReplica(self.log, every=1.0)
        replica.load()
        return Reconciler(self.log, replica, self.queue, self.controllers, self.edges, lambda: None)  # type: ignore[arg-type]


def run_walk(seed: int) -> Machines:
    cluster = Machines(seed)
    dice = random.Random(seed + 1)
    timed = cluster.queue.ring
    cluster.queue.ring = lambda hint, ms: None if hint.controller == "heartbeats" else timed(hint, ms)  # type: ignore[method-assign]
    cluster.commit(Create(a_statefulset("db", "db:0", 3, podManagementPolicy="Parallel")))
    cluster.commit(Create(a_statefulset("web", "web:0", 3)))
    for _ in range(STEPS):
        match dice.randrange(20):
            case 0 | 1:
                cluster.walk_nodes()
            case 2:
                cluster.pass_time(dice.choice([2_000, 20_000, 45_000, 310_000]))
            case 3:
                cluster.mark_all()
            case 4 | 5 | 6 | 7 | 8:
                cluster.step_kubelet(fails=0.0)
            case _:
                cluster.step_worker()
        cluster.sync()
        names = [name for _, name in cluster.running.values()]
        assert len(names) == len(set(names)), f"an ordinal runs twice: {sorted(cluster.running.values())}"
    return cluster


SEEDS = [*range(3), *(pytest.param(seed, marks=pytest.mark.long) for seed in range(3, 40))]


@pytest.mark.parametrize("seed", SEEDS)
def test_no_ordinal_runs_twice_whatever_becomes_of_nodes_and_all_is_whole_when_they_are_back(
    seed: int,
) -> None:
    cluster = run_walk(seed)
    for name in NODE_NAMES:
        cluster.heal(name)
    cluster.queue.loss = 0.0
    cluster.mark_all()
    cluster.settle()

    for node in cluster.state.list("core/nodes"):
        assert ready_status_of(node) == "True"
        assert "taints" not in node["spec"]
    for name in ("db", "web"):
        workload = cluster.get(set_key(name))
        assert workload is not None
        pods = owned_pods(cluster.state, workload)
        assert len(pods) == 3 and not any(map(is_terminating, pods))
        assert all(pod["status"]["phase"] == "Running" for pod in pods)
