"""Node lifecycle on real processes: agents that fall silent and return, and a queue that has lost everything."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from schemas.errors import Unavailable
from schemas.event_types import condition_of
from schemas.objects import Object, is_terminating, name_of
from tests.e2e.clusters import Cluster, a_set, assert_whole, running_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server]
GRACE = 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster whose nodes may be silent for three seconds."""
    directory = tmp_path_factory.mktemp("nodes")
    with running_cluster(directory, CHRONOSET_NODE_GRACE=str(GRACE)) as cluster:
        cluster.apply(a_set())
        cluster.run("rollout", "status", "sts/db")
        cluster.apply(a_pod_that_leaves_a_silent_node_at_once())
        wait_for(lambda: readiness_of_pods(cluster) == {"True"}, "the pods to be Ready", 30)
        yield cluster


def readiness(cluster: Cluster) -> dict[str, str]:
    return {name_of(node): condition_of(node, "Ready") for node in cluster.replayed().list("core/nodes")}


def readiness_of_pods(cluster: Cluster) -> set[str]:
    return {condition_of(pod, "Ready") for pod in cluster.pods().values()}


def test_nodes_whose_agents_are_silent_are_not_ready_until_they_are_heard_again(cluster: Cluster) -> None:
    """Their pods run on: a stopped agent says nothing about them; and none is evicted, since all are silent at once."""
    before = {name: pid for name, pid in cluster.container_pids().items() if name != "fickle"}
    agents = cluster.pid_of("agents")
    os.kill(agents, signal.SIGSTOP)
    try:
        wait_for(lambda: set(readiness(cluster).values()) == {"Unknown"}, "the nodes to be NotReady", 30)
        wait_for(lambda: readiness_of_pods(cluster) == {"False"}, "the pods not to be Ready", 10)
        wait_for(lambda: "evictions stop" in told_of_evictions(cluster), "evictions to stop", 10)
        assert not any(is_terminating(pod) for pod in cluster.pods().values())
        cluster.write("delete", "pod", "fickle")
    finally:
        os.kill(agents, signal.SIGCONT)

    wait_for(lambda: set(readiness(cluster).values()) == {"True"}, "the nodes to be Ready", 30)
    wait_for(lambda: readiness_of_pods(cluster) == {"True"}, "the pods to be Ready", 10)
    assert cluster.container_pids() == before
    assert not any(node["spec"].get("taints") for node in cluster.replayed().list("core/nodes"))
    assert_whole(cluster)


def test_a_queue_that_has_lost_everything_makes_no_node_not_ready(cluster: Cluster) -> None:
    queue, before = cluster.pid_of("queue"), nodes_as_written(cluster)
    os.kill(queue, signal.SIGKILL)

    wait_for(lambda: "the queue is new" in told_of_heartbeats(cluster), "heartbeats not to count", 30)
    wait_for(lambda: not told_of_heartbeats(cluster), "heartbeats to count again", 30)

    assert cluster.pid_of("queue") != queue
    assert nodes_as_written(cluster) == before


def told_of_evictions(cluster: Cluster) -> str:
    try:
        return " ".join(each.text for each in cluster.views.waiting().values())
    except Unavailable:
        return ""


def a_pod_that_leaves_a_silent_node_at_once() -> Object:
    toleration = {
        "key": "node.kubernetes.io/unreachable",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 0,
    }
    container = {"name": "main", "image": "host", "command": ["sleep", "1000000"]}
    spec = {"tolerations": [toleration], "terminationGracePeriodSeconds": 1, "containers": [container]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "fickle"}, "spec": spec}


def told_of_heartbeats(cluster: Cluster) -> str:
    """Return what the controller of heartbeats waits for; it is not told while the queue is away."""
    try:
        found = cluster.views.waiting().get(("heartbeats", "all"))
    except Unavailable:
        return "nothing is known"
    return found.text if found else ""


def nodes_as_written(cluster: Cluster) -> dict[str, str]:
    return {
        name_of(node): node["metadata"]["resourceVersion"] for node in cluster.replayed().list("core/nodes")
    }
