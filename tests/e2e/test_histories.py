"""A log that is cut, empty, shorter, foreign or newer: it is said, no pod is stopped, and the way back works."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from events.codec import decode, encode
from events.genesis import genesis_event
from events.log import Batch, Draft
from events.memory import wall_clock
from schemas.envelopes import CREATE, Actor
from schemas.positions import Position, stream_id_of
from tests.e2e.clusters import (
    Cluster,
    a_set,
    assert_whole,
    replace_log,
    running_cluster,
    wait_for,
)
from tests.servers import running_server

pytestmark = [pytest.mark.e2e, pytest.mark.server]
DECIDERS = ("dispatcher", "worker-1", "worker-2")
"""The programs that halt. The projector builds its projections anew from whatever log is there."""


def cut(data_dir: Path) -> None:
    """Cut the end off the log's file, in the middle of the last event that was appended."""
    (file,) = (data_dir / "log").glob("appendonlydir/*.incr.aof")
    os.truncate(file, file.read_bytes().upper().rindex(b"\nXADD\r\n") + 20)


def kill_log_server(cluster: Cluster, meanwhile: Callable[[], object]) -> None:
    """kill -9 of the log's server, and something done before the supervisor starts it again."""
    assert cluster.up is not None
    cluster.up.send_signal(signal.SIGSTOP)
    os.kill(cluster.pid_of("log"), signal.SIGKILL)
    meanwhile()
    cluster.up.send_signal(signal.SIGCONT)


def positions(cluster: Cluster) -> list[Position]:
    return [entry.position for entry in cluster.log.read(0, 100_000)]


def are_halted(cluster: Cluster) -> bool:
    members = cluster.members()
    return all(members[name].state == "halted" for name in DECIDERS)


def said_by_programs(cluster: Cluster) -> str:
    return "".join(path.read_text() for path in (cluster.data_dir / "logs").glob("*.log"))


def with_a_set(cluster: Cluster, replicas: int = 2) -> dict[str, int]:
    """Apply the set, wait for it, and return its processes."""
    cluster.apply(a_set(replicas))
    assert cluster.run("rollout", "status", "sts/db").code == 0
    return wait_for(cluster.container_pids, "processes")


def test_a_log_cut_while_it_was_down_is_refused_until_the_operator_decides(tmp_path: Path):
    """The refusal names where the log ends and where it ended; both ways out that it names work."""
    with running_cluster(tmp_path / "data") as cluster:
        with_a_set(cluster, 1)
        cluster.write("scale", "sts/db", "--replicas", "2", "--wait")
        assert cluster.stop()[0] == 0
        shutil.copytree(tmp_path / "data/log", tmp_path / "backup")

        cut(tmp_path / "data")
        cluster.start()
        code, said = cluster.ended()
        assert code == 70
        assert (
            "acknowledged events are missing; put the files back, or go on without them (up --accept-loss"
            in said
        )
        assert cluster.record() is None

        replace_log(tmp_path / "data", tmp_path / "backup")
        cluster.start_and_wait()
        assert_whole(cluster)
        before = positions(cluster)
        assert cluster.stop()[0] == 0

        cut(tmp_path / "data")
        cluster.start_and_wait("--accept-loss")
        events = [decode(entry) for entry in cluster.log.read(0, 100_000)]
        (number,) = [index for index, event in enumerate(events) if event.type == "EpochStarted"]
        kept = [event.position for event in events[:number]]
        assert kept == before[: len(kept)] and 0 < len(kept) < len(before)
        assert events[number].body is not None
        assert events[number].body["end"] == stream_id_of(kept[-1])
        member = cluster.members()["log"]
        assert "its file ended mid-entry and was cut at byte" in member.note
        assert member.note in cluster.run("doctor").out
        assert f"the log ends at position {stream_id_of(kept[-1])} now" in member.note
        cluster.acknowledged = [each for each in cluster.acknowledged if each <= kept[-1]]
        cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
        assert_whole(cluster)
        assert cluster.stop()[0] == 0
        cluster.start_and_wait()
        assert_whole(cluster)


def foreign_log(directory: Path, name: str) -> Path:
    """Return the files of a log server with the log of another cluster of the same name."""
    from events.redis_log import RedisLog

    directory.mkdir()
    with running_server(directory, "--appendonly", "yes") as server:
        log = RedisLog(server.client(), name)
        log.create()
        log.close()
        server.stop()
    (directory / "server.log").unlink()
    return directory


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("empty", "is gone from its server: put its files back"),
        ("foreign", "name the right server or put the right files back"),
        ("shorter", "acknowledged events are missing; put the files back"),
    ],
)
def test_a_log_that_is_not_the_one_remembered_stops_no_pod(tmp_path: Path, how: str, sentence: str):
    """Under a running cluster programs halt, at a start `up` refuses with 70; with the right log all goes on."""
    with running_cluster(tmp_path / "data") as cluster:
        pids = with_a_set(cluster)
        data, backup = tmp_path / "data", tmp_path / "backup"
        end = stream_id_of(cluster.log.last())
        wait_for(
            lambda: json.loads((data / "log.json").read_text())["seen"] >= end, "the end to be remembered"
        )

        def damage() -> None:
            shutil.copytree(data / "log", backup)
            if how == "shorter":
                cut(data)
            else:
                replace_log(data, None if how == "empty" else foreign_log(tmp_path / "foreign", cluster.name))

        kill_log_server(cluster, damage)
        wait_for(lambda: are_halted(cluster), lambda: f"programs to halt: {cluster.members()}")
        wait_for(
            lambda: "holding still: no pod is stopped" in said_by_programs(cluster), "the agents to say so"
        )
        assert cluster.container_pids() == pids
        refused = cluster.run("scale", "sts/db", "--replicas", "1")
        assert refused.code in (2, 3, 4, 70) and refused.err.count("\n") == 1, refused
        assert cluster.container_pids() == pids

        assert cluster.up is not None
        cluster.up.kill()
        cluster.ended()
        cluster.start()
        code, said = cluster.ended()
        assert (code, sentence in said) == (70, True), said
        assert cluster.container_pids() == pids

        replace_log(data, backup)
        cluster.start_and_wait()
        cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
        assert {name: pid for name, pid in cluster.container_pids().items() if name in pids} == pids
        assert_whole(cluster)


def test_an_event_of_a_newer_version_halts_every_program_and_no_pod(tmp_path: Path):
    """Each names the position and ends with 70; so does a replay, and `up` itself when it is stopped."""
    with running_cluster(tmp_path / "data") as cluster:
        pids = with_a_set(cluster)
        position = append_from_the_future(cluster)
        wait_for(lambda: are_halted(cluster), lambda: f"programs to halt: {cluster.members()}")
        for name in DECIDERS:
            lines = (cluster.data_dir / "logs" / f"{name}.log").read_text().splitlines()
            failures = [each for each in map(json.loads, lines) if each["event"] == "program failed"]
            assert [each["exit_code"] for each in failures] == [70]
            assert stream_id_of(position) in failures[0]["error"]
            assert "needs a reader of version 99" in failures[0]["error"]
        ran = cluster.run("replay", "--at", stream_id_of(position))
        assert (ran.code, stream_id_of(position) in ran.err) == (70, True), ran
        refused = cluster.run("scale", "sts/db", "--replicas", "1")
        assert refused.code in (3, 4) and refused.err.count("\n") == 1, refused
        assert cluster.container_pids() == pids
        assert "halted" in cluster.run("doctor").out

        code, _ = cluster.stop()
        assert code == 70
        assert cluster.containers() == {}


def append_from_the_future(cluster: Cluster) -> Position:
    """Append an event as a version to come would write it: only a reader of version 99 may fold it."""
    key, uid = "core/configmaps/default/new", "u-new"
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "new", "namespace": "default", "uid": uid},
    }
    event = genesis_event(cluster.name, uid, Actor("user:future"), wall_clock())._replace(
        key=key, type="ConfigMapCreated", op=CREATE, body=body, version=99, min_reader=99
    )
    draft = Draft(key, event.type, encode(event), False)
    return cluster.log.append(Batch((draft,), {key: 0}, (), "future", "", wall_clock())).last
