"""A log collector on three real nodes: rolled out, updated, undone, killed and drained of a node."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from schemas.event_types import condition_of
from schemas.objects import Object, uid_of
from tests.e2e.clusters import Cluster, assert_nothing_left, assert_whole, temporary_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server]
EXAMPLE = Path(__file__).parents[2] / "examples" / "fluentd.yaml"
SET = ("ds/fluentd-elasticsearch", "-n", "kube-system")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Three nodes with a log collector on each."""
    with temporary_cluster(nodes=3) as cluster:
        cluster.write("apply", "-f", str(EXAMPLE), "--wait")
        yield cluster
        assert_whole(cluster)
    assert_nothing_left(cluster)


def daemons(cluster: Cluster) -> dict[str, Object]:
    """Node -> the collector's Ready pod there."""
    found = {}
    for pod in cluster.pods().values():
        assert pod["metadata"]["labels"]["name"] == "fluentd-elasticsearch"
        if condition_of(pod, "Ready") == "True" and "deletionTimestamp" not in pod["metadata"]:
            assert pod["spec"]["nodeName"] not in found, "one pod a node"
            found[pod["spec"]["nodeName"]] = pod
    return found


def release_of(pod: Object) -> str:
    annotations: dict[str, str] = pod["metadata"].get("annotations") or {}
    return annotations.get("release", "")


def test_every_node_has_one_and_an_update_and_its_undo_reach_every_one(cluster: Cluster) -> None:
    first = daemons(cluster)
    assert sorted(first) == ["n1", "n2", "n3"]
    patch = '{"spec":{"template":{"metadata":{"annotations":{"release":"2"}}}}}'
    cluster.write("patch", *SET, "-p", patch, "--wait")
    second = daemons(cluster)
    assert {node: release_of(pod) for node, pod in second.items()} == {"n1": "2", "n2": "2", "n3": "2"}
    assert not {uid_of(pod) for pod in first.values()} & {uid_of(pod) for pod in second.values()}
    cluster.write("rollout", "undo", *SET, "--wait")
    assert {release_of(pod) for pod in daemons(cluster).values()} == {""}
    history = cluster.run("rollout", "history", *SET).out
    assert [line.split()[0] for line in history.splitlines()[1:3]] == ["2", "3"]


def test_a_collector_that_is_killed_is_started_again_in_its_place(cluster: Cluster) -> None:
    before = daemons(cluster)
    pid = cluster.container_pids()[before["n2"]["metadata"]["name"]]
    os.kill(pid, signal.SIGKILL)

    def restarted() -> bool:
        pod = daemons(cluster).get("n2")
        return pod is not None and pod["status"]["containerStatuses"][0]["restartCount"] == 1

    wait_for(restarted, "the collector of n2 to be started again")
    assert {node: uid_of(pod) for node, pod in daemons(cluster).items()} == {
        node: uid_of(pod) for node, pod in before.items()
    }


def test_a_node_that_is_not_to_run_it_any_more_loses_it_and_gets_it_back(cluster: Cluster) -> None:
    cluster.write("patch", "node/n3", "-p", '{"spec":{"taints":[{"key":"gpu","effect":"NoExecute"}]}}')
    wait_for(lambda: sorted(nodes_of_pods(cluster)) == ["n1", "n2"], "n3 to lose its collector")
    cluster.write("patch", "node/n3", "-p", '{"spec":{"taints":null}}')
    wait_for(lambda: sorted(daemons(cluster)) == ["n1", "n2", "n3"], "n3 to get a collector again")
    cluster.run("rollout", "status", *SET)


def nodes_of_pods(cluster: Cluster) -> list[str]:
    return [pod["spec"].get("nodeName", "") for pod in cluster.pods().values()]
