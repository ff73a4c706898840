"""kill -9 of every process of a cluster in the middle of a rollout: it finishes, and nothing acknowledged is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from schemas.kinds import POD
from schemas.objects import Object, key_of
from schemas.positions import stream_id_of
from services.processes import is_alive, process_id_of
from tests.e2e.clusters import (
    TAGS,
    Cluster,
    a_set,
    assert_nothing_left,
    assert_whole,
    running_cluster,
    temporary_cluster,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.server]
VICTIMS = ("projector", "dispatcher", "worker-1", "worker-2", "api", "agents", "zygote", "queue", "log")
tags = cycle(TAGS)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """One cluster with the set `db`, which every test of this module leaves complete."""
    with temporary_cluster() as cluster:
        cluster.apply(a_set(tag=next(tags)))
        cluster.run("rollout", "status", "sts/db")
        yield cluster


def is_back(cluster: Cluster, name: str, killed: int) -> bool:
    if name == "zygote":
        return process_id_of(killed) is None
    member = cluster.members()[name]
    return member.state == "running" and member.process is not None and member.process.pid != killed


def restarts(cluster: Cluster) -> dict[str, int]:
    return {
        name: status["restartCount"]
        for name, pod in cluster.pods().items()
        for status in pod["status"]["containerStatuses"]
    }


def images(pods: dict[str, Object]) -> dict[str, str]:
    return {name: pod["spec"]["containers"][0]["image"] for name, pod in pods.items()}


@pytest.mark.parametrize("victim", VICTIMS)
def test_a_rollout_survives_the_kill_of_any_process(cluster: Cluster, victim: str):
    """The kill comes when the rollout's first pod is gone and the last one has not moved."""
    tag, before = next(tags), cluster.container_pids()
    cluster.roll_out(tag, wait=False)
    wait_for(lambda: cluster.container_pids().get("db-2") != before["db-2"], "db-2 to end")
    killed = cluster.pid_of(victim)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: is_back(cluster, victim, killed), f"{victim} to be started again")
    status = cluster.run("rollout", "status", "sts/db", "--timeout", "50s")
    assert status.code == 0, status.err
    assert_whole(cluster)
    assert images(cluster.pods()) == dict.fromkeys(("db-0", "db-1", "db-2"), f"idle:{tag}")


@pytest.mark.parametrize("victim", ["agents", "zygote"])
def test_running_pods_survive_their_agents_and_are_adopted(cluster: Cluster, victim: str):
    """The same processes run on, none is started again; the agent that comes back can end them."""
    before, uids = (
        cluster.container_pids(),
        {name: pod["metadata"]["uid"] for name, pod in cluster.pods().items()},
    )
    killed = cluster.pid_of(victim)
    os.kill(killed, signal.SIGKILL)
    wait_for(lambda: is_back(cluster, victim, killed), f"{victim} to be started again")
    cluster.write("scale", "sts/db", "--replicas", "4", "--wait")
    after = cluster.container_pids()
    assert {name: after[name] for name in before} == before
    assert restarts(cluster) == dict.fromkeys(after, 0)
    assert {name: cluster.pods()[name]["metadata"]["uid"] for name in uids} == uids
    cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
    wait_for(lambda: cluster.container_pids() == before, "db-3 to end")
    assert_whole(cluster)


def test_a_killed_container_is_started_again_in_its_pod(cluster: Cluster):
    """kill -9 of the program itself: the same pod, the same volume, restartCount 1."""
    pids, uid = cluster.container_pids(), cluster.pods()["db-1"]["metadata"]["uid"]
    os.kill(pids["db-1"], signal.SIGKILL)
    wait_for(lambda: restarts(cluster).get("db-1") == 1, "db-1 to be restarted")
    assert cluster.pods()["db-1"]["metadata"]["uid"] == uid
    assert_whole(cluster)


def test_nothing_outlives_a_killed_supervisor_but_the_pods_which_the_next_one_adopts(tmp_path: Path):
    with running_cluster(tmp_path / "data") as cluster:
        cluster.apply(a_set(2))
        cluster.run("rollout", "status", "sts/db")
        pids, record = cluster.container_pids(), cluster.record()
        assert record is not None and len(pids) == 2
        zygote = cluster.pid_of("zygote")
        cluster.roll_out("2", wait=False)
        kill_supervisor(cluster)
        mine = [one.process for one in record.members if one.process]
        wait_for(lambda: not any(map(is_alive, mine)), "every supervised process to end")
        wait_for(lambda: process_id_of(zygote) is None, "the zygote to end")
        assert cluster.container_pids() != {}

        cluster.start_and_wait()
        status = cluster.run("rollout", "status", "sts/db", "--timeout", "50s")
        assert status.code == 0, status.err
        assert_whole(cluster)
        assert images(cluster.pods()) == {"db-0": "idle:2", "db-1": "idle:2"}


def test_pods_that_stand_still_while_the_supervisor_is_killed_are_adopted_and_ended_by_down(tmp_path: Path):
    with running_cluster(tmp_path / "data") as cluster:
        cluster.apply(a_set(2))
        cluster.run("rollout", "status", "sts/db")
        pids = cluster.container_pids()
        kill_supervisor(cluster)
        assert cluster.container_pids() == pids and len(pids) == 2

        cluster.start_and_wait()
        cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
        after = cluster.container_pids()
        assert {name: after[name] for name in pids} == pids
        assert restarts(cluster) == dict.fromkeys(after, 0)
        assert_whole(cluster)

        kill_supervisor(cluster)
        assert cluster.container_pids() == after
        ran = cluster.run("down")
        assert (ran.code, ran.out) == (0, f"stopped the cluster in {cluster.data_dir}\n")
        assert cluster.containers() == {}
        assert cluster.run("down").out == f"no cluster was running in {cluster.data_dir}\n"
        ran = cluster.run("down", "--delete-data")
        assert ran.code == 0, ran.err
        assert_nothing_left(cluster)


def kill_supervisor(cluster: Cluster) -> None:
    assert cluster.up is not None
    cluster.up.kill()
    cluster.ended()


def test_the_log_tells_which_command_came_to_which_position(cluster: Cluster):
    """A command sent twice under one id is carried out once, also when the log's server was killed in between."""
    first = cluster.run("scale", "sts/db", "--replicas", "2", "--command-id", "once", "-o", "json")
    killed = cluster.pid_of("log")
    os.kill(killed, signal.SIGKILL)
    again = cluster.run("scale", "sts/db", "--replicas", "2", "--command-id", "once", "-o", "json")
    assert first.code == again.code == 0, first.err + again.err
    assert '"repeated":true' in again.out and '"repeated":false' in first.out
    wait_for(lambda: is_back(cluster, "log", killed), "the log to be back")
    heads = cluster.log.heads([key_of("apps/statefulsets", "default", "db")])
    assert all(stream_id_of(head) for head in heads.values())
    cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
    assert_whole(cluster)
    assert len(cluster.replayed().list(POD.resource)) == 3
