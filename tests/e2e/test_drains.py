"""A StatefulSet under a budget, drained node by node on real processes: two of its three pods are Ready throughout."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from events.replica import Applied, Replica
from schemas.event_types import condition_of
from schemas.kinds import POD
from schemas.objects import Key, Object, is_terminating
from schemas.positions import Position
from tests.e2e.clusters import Cluster, a_set, assert_whole, running_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.long]
NODES = 3
BUDGET: Object = {
    "apiVersion": "policy/v1",
    "kind": "PodDisruptionBudget",
    "metadata": {"name": "db"},
    "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "db"}}},
}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of three nodes with a set of three, whose pods may go anywhere, and its budget."""
    with running_cluster(tmp_path_factory.mktemp("drains"), NODES) as cluster:
        movable = a_set()
        del movable["spec"]["volumeClaimTemplates"]
        spec = movable["spec"]["template"]["spec"]
        spec["volumes"] = [{"name": "data", "emptyDir": {}}]
        cluster.apply(movable, BUDGET)
        cluster.run("rollout", "status", "sts/db")
        yield cluster


def _is_healthy(pod: Object) -> bool:
    return condition_of(pod, "Ready") == "True" and not is_terminating(pod)


def lowest_since(cluster: Cluster, start: Position) -> tuple[int, int]:
    """Return how many pods were healthy at the least after a position, as the log tells it, and how many evicted."""
    seen: list[Applied] = []
    Replica(cluster.log, on_applied=seen.extend).load()
    pods: dict[Key, Object] = {}
    lowest, evicted = NODES, 0
    for each in seen:
        if not each.event.key.startswith(f"{POD.resource}/"):
            continue
        pods.pop(each.event.key, None)
        if each.new is not None:
            pods[each.event.key] = each.new
        if each.event.position > start:
            lowest = min(lowest, sum(map(_is_healthy, pods.values())))
            evicted += each.event.type == "PodDeletionRequested"
    return lowest, evicted


def is_whole(cluster: Cluster) -> bool:
    return [condition_of(pod, "Ready") for pod in cluster.pods().values()] == ["True"] * NODES


def test_a_set_that_is_drained_node_by_node_keeps_two_pods_ready(cluster: Cluster) -> None:
    start = cluster.log.last()
    for number in range(1, NODES + 1):
        node = f"n{number}"
        drained = cluster.run("drain", node, "--delete-emptydir-data", "--timeout", "40s")
        assert drained.code == 0, drained.err
        assert f"node/{node} drained" in drained.out
        assert all(pod["spec"].get("nodeName") != node for pod in cluster.pods().values())
        cluster.write("uncordon", node)

    wait_for(lambda: is_whole(cluster), "the set to be whole", 30)
    lowest, evicted = lowest_since(cluster, start)
    assert lowest == 2 and evicted >= NODES
    assert_whole(cluster)


def test_two_who_drain_at_once_share_one_budget(cluster: Cluster) -> None:
    start = cluster.log.last()
    ran: list[int] = []
    people = [
        threading.Thread(
            target=lambda name=name: ran.append(
                cluster.run("drain", name, "--delete-emptydir-data", "--timeout", "40s").code
            )
        )
        for name in ("n1", "n2")
    ]
    for each in people:
        each.start()
    for each in people:
        each.join()

    assert ran == [0, 0]
    wait_for(lambda: is_whole(cluster), "the set to be whole", 30)
    assert lowest_since(cluster, start)[0] == 2
    assert {pod["spec"]["nodeName"] for pod in cluster.pods().values()} == {"n3"}
    budget = next(iter(cluster.views.list("policy/poddisruptionbudgets")))
    assert budget["status"]["disruptionsAllowed"] == 1
