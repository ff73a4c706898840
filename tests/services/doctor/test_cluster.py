"""What the doctor says of a cluster, with a real server."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from events.redis_log import RedisLog
from schemas.positions import position_of
from services.broker.keys import Keys
from services.clusters import ClusterRecord, Member, write_record
from services.connections import connect
from services.doctor import Level, as_json, examine
from services.doctor.cluster import clock_finding, lag_finding, member_finding, sealing_finding
from services.processes import ProcessId, process_id_of
from services.settings import Settings, settings_from
from tests.servers import running_server

NOW = 1_700_000_000_000


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """A log and a queue on one server that keeps its AOF, in different databases."""
    data = tmp_path / "server"
    data.mkdir()
    with running_server(data, "--appendonly", "yes", "--appendfsync", "always") as server:
        environ = {"CHRONOSET_LOG_URL": server.url, "CHRONOSET_QUEUE_URL": f"{server.url}?db=1"}
        yield settings_from(environ, tmp_path / "data")


def said(settings: Settings, level: Level) -> str:
    return "\n".join(found.what for found in examine(settings) if found.level is level)


@pytest.mark.server
def test_a_cluster_with_a_log_is_described_and_an_empty_server_is_an_error(settings: Settings) -> None:
    assert "there is no log of cluster chronoset" in said(settings, Level.ERROR)
    assert "archive" not in said(settings, Level.GOOD) and "projections" not in said(settings, Level.ERROR)
    with connect(settings.log_url, "test", retries=0) as client:
        log_id = RedisLog(client).create()
    assert f"log {log_id} ends at" in said(settings, Level.GOOD)
    assert "durability always" in said(settings, Level.GOOD)
    assert "there is no log" not in said(settings, Level.ERROR)


@pytest.mark.server
def test_refused_writes_dead_letters_and_silent_nodes_are_found(settings: Settings) -> None:
    keys = Keys(settings.cluster)
    with connect(settings.log_url, "test") as log, connect(settings.queue_url, "test") as queue:
        RedisLog(log).create()
        log.hset("{chronoset}:heads", "refuse", "deletes:the disk is small")
        queue.xadd(keys.dead("reconcile"), {"error": "boom"})
        queue.set(keys.heartbeat("n1"), "1")
    settings = replace(settings, node_names=("n1", "n2"))
    assert "the log refuses all writes but deletes: the disk is small" in said(settings, Level.ERROR)
    assert "1 messages were given up and lie in {chronoset}:queue:reconcile:dead" in said(
        settings, Level.WARNING
    )
    assert "node n2 sends no heartbeat" in said(settings, Level.WARNING)
    assert "n1" not in said(settings, Level.WARNING)


@pytest.mark.server
def test_a_log_server_that_could_forget_is_an_error(settings: Settings) -> None:
    with connect(settings.log_url, "test") as client:
        client.config_set("appendfsync", "everysec")
    assert "appendfsync everysec" in said(settings, Level.ERROR)


def test_servers_that_do_not_answer_are_named_and_their_passwords_are_not(tmp_path: Path) -> None:
    environ = {
        "CHRONOSET_LOG_URL": "redis://:hush@127.0.0.1:1",
        "CHRONOSET_QUEUE_URL": "redis://:hush@127.0.0.1:1/1",
    }
    found = examine(settings_from(environ, tmp_path))
    errors = [one.what for one in found if one.level is Level.ERROR]
    assert any("the log's server (redis://:***@127.0.0.1:1) cannot be reached" in what for what in errors)
    assert any("the queue's server" in what for what in errors)
    assert "hush" not in str(as_json(found))


def test_without_a_cluster_the_doctor_looks_at_the_machine(tmp_path: Path) -> None:
    found = examine(settings_from({}, tmp_path))
    assert "no cluster runs in" in found[-1].what
    assert as_json(found)[0]["what"].startswith("Python 3.")


@pytest.mark.server
def test_programs_that_do_not_run_are_found(settings: Settings) -> None:
    me = process_id_of(os.getpid())
    assert me is not None
    members = (
        Member("log", "running", me, NOW),
        Member("worker-1", "running", ProcessId(me.pid, 1), NOW),
        Member("projector", "halted", None, NOW, 1, "history is lost"),
    )
    settings.data_dir.mkdir()
    write_record(settings.data_dir, ClusterRecord("chronoset", me, "", "", "", "always", (), members))
    errors = said(settings, Level.ERROR)
    assert "worker-1 is not running" in errors
    assert "projector is halted" in errors
    assert "log runs" in said(settings, Level.GOOD)


@pytest.mark.parametrize(
    ("theirs", "level"),
    [(0, Level.GOOD), (-4_999, Level.GOOD), (5_001, Level.WARNING), (-60_001, Level.ERROR)],
)
def test_clocks_that_differ_are_judged_as_the_log_judges_them(theirs: int, level: Level) -> None:
    assert clock_finding(NOW, NOW + theirs).level is level


@pytest.mark.parametrize(
    ("oldest_unread", "level"),
    [(None, Level.GOOD), (f"{NOW - 4_999}-0", Level.GOOD), (f"{NOW - 5_000}-0", Level.WARNING)],
)
def test_projections_are_behind_by_the_age_of_the_oldest_event_they_lack(
    oldest_unread: str | None, level: Level
) -> None:
    oldest = position_of(oldest_unread) if oldest_unread else None
    assert lag_finding(position_of(f"{NOW - 3_600_000}-0"), oldest, NOW).level is level


def test_a_member_that_ended_is_a_warning_only_while_it_has_something_to_say() -> None:
    me = process_id_of(os.getpid())
    assert member_finding(Member("log", "running", me, NOW, 3), NOW + 5_000).what == (
        f"log runs for 5 s (pid {os.getpid()}, ended 3 times by itself)"
    )
    assert member_finding(Member("log", "running", me, NOW, 0, "was cut"), NOW).level is Level.WARNING
    assert member_finding(Member("apply", "finished", None, NOW), NOW).level is Level.GOOD
    assert member_finding(Member("worker", "waiting", None, NOW, 1, "ended with 1"), NOW).level is Level.ERROR


@pytest.mark.parametrize(
    ("minutes", "level"), [(None, Level.GOOD), (1, Level.GOOD), (120, Level.GOOD), (121, Level.WARNING)]
)
def test_an_archive_that_does_not_grow_is_told(minutes: int | None, level: Level) -> None:
    oldest = None if minutes is None else position_of(f"{NOW - minutes * 60_000}-0")
    found = sealing_finding(oldest, NOW, 3_600_000)
    assert found.level is level and ("for 121 minutes" in found.what) is (level is Level.WARNING)
