"""Nodes that wait for their network, and nodes that come and go, on real processes."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.event_types import condition_of
from schemas.objects import Object, labels_of, name_of, uid_of
from tests.e2e.clusters import Cluster, a_set, assert_nothing_left, assert_whole, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.long]
EXAMPLES = Path(__file__).parents[2] / "examples"
REFUSAL = "node(s) had untolerated taint {node.kubernetes.io/not-ready: }"
PARALLEL = {"podManagementPolicy": "Parallel"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster of two nodes whose network nobody has set up yet."""
    cluster = Cluster(tmp_path_factory.mktemp("networks"))
    try:
        cluster.start("--network-agent")
        wait_for(lambda: readiness(cluster) == {"n1": "False", "n2": "False"}, "the nodes to have joined")
        yield cluster
        assert_whole(cluster)
    finally:
        cluster.clean_up()
    assert_nothing_left(cluster)


def readiness(cluster: Cluster) -> dict[str, str]:
    record = cluster.record()
    if record is None or not record.ready or any(one.state != "running" for one in record.members):
        return {}
    return {name_of(node): condition_of(node, "Ready") for node in cluster.replayed().list("core/nodes")}


def daemons(cluster: Cluster, name: str) -> dict[str, Object]:
    """Node -> the Ready daemon of a set there."""
    return {
        pod["spec"]["nodeName"]: pod
        for pod in cluster.pods().values()
        if labels_of(pod).get("name") == name and condition_of(pod, "Ready") == "True"
    }


def are_on(cluster: Cluster, *nodes: str) -> bool:
    sets = ("net-agent", "fluentd-elasticsearch")
    return all(sorted(daemons(cluster, name)) == list(nodes) for name in sets)


def why_unscheduled(cluster: Cluster, pod: str) -> str:
    status = (cluster.pods().get(pod) or {}).get("status") or {}
    found = [each for each in status.get("conditions", ()) if each["type"] == "PodScheduled"]
    return str(found[0].get("message", "")) if found else ""


def configuration(cluster: Cluster, node: str) -> Path:
    return cluster.data_dir / "nodes" / node / "net.d" / "10-loopback.conflist"


def test_everything_waits_for_the_network_agent_but_that_itself(cluster: Cluster) -> None:
    cluster.write("apply", "-f", str(EXAMPLES / "fluentd.yaml"))
    cluster.apply(a_set(2, **PARALLEL))
    wait_for(lambda: f"2 {REFUSAL}" in why_unscheduled(cluster, "db-1"), "db-1 to be refused")
    assert (
        "the taint node.kubernetes.io/not-ready:NoSchedule is not tolerated"
        in cluster.run("get", "ds", "-A").out
    )
    assert set(cluster.pods()) == {"db-0", "db-1"}

    cluster.write("apply", "-f", str(EXAMPLES / "net-agent.yaml"), "--wait")

    wait_for(lambda: readiness(cluster) == {"n1": "True", "n2": "True"}, "the nodes to be Ready")
    wait_for(lambda: are_on(cluster, "n1", "n2"), "the daemons")
    cluster.run("rollout", "status", "sts/db")
    assert not any(node["spec"].get("taints") for node in cluster.replayed().list("core/nodes"))
    addresses = {pod["status"]["podIP"] for pod in daemons(cluster, "net-agent").values()}
    assert addresses == {pod["status"]["hostIP"] for pod in cluster.pods().values()} and len(addresses) == 2


def test_a_killed_network_agent_is_started_again_and_its_node_stays_ready(cluster: Cluster) -> None:
    """As with the kubelet: it is the configuration that counts, and SIGKILL leaves it."""
    agent = daemons(cluster, "net-agent")["n2"]
    os.kill(cluster.container_pids()[name_of(agent)], signal.SIGKILL)

    def is_again() -> bool:
        pod = daemons(cluster, "net-agent").get("n2")
        return pod is not None and pod["status"]["containerStatuses"][0]["restartCount"] == 1

    wait_for(is_again, "the network agent to be started again")
    assert readiness(cluster) == {"n1": "True", "n2": "True"}


def test_a_node_whose_network_agent_ends_is_not_ready_until_the_next_one_is_there(cluster: Cluster) -> None:
    before = {name: uid_of(pod) for name, pod in cluster.pods().items() if name.startswith("db-")}
    configuration(cluster, "n1").unlink()
    wait_for(lambda: readiness(cluster) == {"n1": "False", "n2": "True"}, "n1 not to be Ready")

    cluster.write("delete", "pod", name_of(daemons(cluster, "net-agent")["n1"]), "-n", "kube-system")

    wait_for(lambda: readiness(cluster) == {"n1": "True", "n2": "True"}, "n1 to be Ready")
    wait_for(lambda: are_on(cluster, "n1", "n2"), "the daemons")
    assert {name: uid_of(pod) for name, pod in cluster.pods().items() if name.startswith("db-")} == before


def test_a_node_joins_and_leaves_and_comes_back_to_its_data(cluster: Cluster) -> None:
    added = cluster.run("node", "add", "n3")
    assert added.code == 0 and added.out.startswith("node n3 is added: NotReady, container runtime network")
    wait_for(lambda: are_on(cluster, "n1", "n2", "n3"), "the daemons of n3")
    cluster.write("cordon", "n1")
    cluster.write("cordon", "n2")
    cluster.write("scale", "sts", "db", "--replicas", "3", "--wait")
    assert cluster.pods()["db-2"]["spec"]["nodeName"] == "n3"
    os.kill(cluster.pid_of("agents"), signal.SIGKILL)
    wait_for(lambda: "agents" in cluster.members() and len(readiness(cluster)) == 3, "the agents to be back")

    removed = cluster.run("node", "remove", "n3")

    assert removed.code == 0 and "stays in" in removed.err
    assert sorted(readiness(cluster)) == ["n1", "n2"] and are_on(cluster, "n1", "n2")
    assert not any(pod["spec"].get("nodeName") == "n3" for pod in cluster.pods().values())
    assert not any("/nodes/n3/" in each.environ.get("HOME", "") for each in cluster.containers().values())
    cluster.write("uncordon", "n1")
    cluster.write("uncordon", "n2")
    wait_for(lambda: "volume" in why_unscheduled(cluster, "db-2").lower(), "db-2 to wait for its volume")

    assert cluster.run("node", "add", "n3").code == 0
    wait_for(lambda: condition_of(cluster.pods()["db-2"], "Ready") == "True", "db-2 to be back")
    journals = list((cluster.data_dir / "nodes" / "n3" / "volumes").glob("*/journal"))
    assert [len(journal.read_text().splitlines()) for journal in journals] == [2]
    wait_for(lambda: are_on(cluster, "n1", "n2", "n3"), "the daemons of n3")
