"""A cluster whose log is trimmed as it goes lives on: through kill -9, a restart, and from a backup."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from events.replay import replay
from events.state import State
from schemas.objects import key_of
from services.archives import archived
from tests.e2e.clusters import Cluster, a_set, assert_nothing_left, running_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server, pytest.mark.long]
TIGHT = {"CHRONOSET_SEAL_EVENTS": "100", "CHRONOSET_STREAM_EVENTS": "0"}


def is_trimmed(cluster: Cluster) -> bool:
    first, _ = cluster.log.held()
    return first > cluster.acknowledged[0]


def folded_from_the_beginning(cluster: Cluster) -> State:
    log = archived(cluster.log, cluster.settings)
    return replay(log, log.last(), State())


def test_a_trimmed_log_is_whole_for_everybody(tmp_path: Path) -> None:
    with running_cluster(tmp_path / "data", 2, **TIGHT) as cluster:
        cluster.apply(a_set(tag="1"))
        cluster.run("rollout", "status", "sts/db")
        cluster.roll_out("2")
        assert cluster.run("archive", "seal").code == 0
        cluster.roll_out("3")
        assert cluster.run("archive", "seal").code == 0
        wait_for(lambda: is_trimmed(cluster), "the stream's beginning to be trimmed")
        for name in ("historian", "worker-1", "dispatcher", "projector", "api"):
            os.kill(cluster.pid_of(name), signal.SIGKILL)
        cluster.roll_out("4")
        cluster.stop()
        cluster.start_and_wait()
        state = folded_from_the_beginning(cluster)
        found = state.objects[key_of("apps/statefulsets", "default", "db")]
        assert found["status"]["updatedReplicas"] == found["status"]["readyReplicas"] == 3
        history = cluster.run("replay", "history", "sts", "db", "--field", "spec.template")
        assert all(f"idle:{tag}" in history.out for tag in ("2", "3", "4")), history
        assert cluster.run("projections", "rebuild").code == 0
        assert cluster.run("backup", str(tmp_path / "backup")).code == 0
    again = Cluster(tmp_path / "again", 0)
    try:
        assert again.run("restore", str(tmp_path / "backup")).code == 0
        again.start()
        shown = ("get", "sts", "db", "-o", "json")
        wait_for(lambda: "idle:4" in again.run(*shown).out, "the restored cluster to show its set")
        assert folded_from_the_beginning(again).objects.keys() >= {
            key_of("apps/statefulsets", "default", "db")
        }
    finally:
        again.clean_up()
    assert_nothing_left(again)
