"""Servers that misbehave, and servers of others: a write is carried out or refused with a reason, nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest
import redis

from services.connections import connect
from services.settings import joined
from tests.e2e.clusters import (
    Cluster,
    Ran,
    a_set,
    assert_whole,
    processes_of,
    running_cluster,
    temporary_cluster,
    wait_for,
)
from tests.servers import running_server

pytestmark = [pytest.mark.e2e, pytest.mark.server]
PASSWORD = "hunter2-is-secret"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster(1) as cluster:
        cluster.apply(a_set(1))
        assert cluster.run("rollout", "status", "sts/db").code == 0
        yield cluster


@contextmanager
def log_client(cluster: Cluster) -> Iterator[redis.Redis]:
    client = connect(joined(cluster.settings).log_url, "test", retries=0)
    try:
        yield client
    finally:
        client.close()


def scaled(cluster: Cluster, replicas: int, *arguments: str) -> Ran:
    return cluster.run("scale", "sts/db", "--replicas", str(replicas), *arguments)


def assert_goes_on(cluster: Cluster, replicas: int) -> None:
    """A write is taken again and carried out; the log, the projections and /proc agree."""
    wait_for(lambda: scaled(cluster, replicas).code == 0, "a write to be taken")
    wait_for(lambda: len(cluster.containers()) == replicas, f"{replicas} pods")
    assert_whole(cluster)


def assert_refused(ran: Ran, code: int, reason: str) -> None:
    assert (ran.code, ran.out, ran.err.count("\n")) == (code, "", 1), ran
    assert reason in ran.err, ran.err


def test_a_read_only_log_server_is_named_and_writes_go_on_afterwards(cluster: Cluster):
    with log_client(cluster) as client:
        client.execute_command("REPLICAOF", "127.0.0.1", "1")
        end = cluster.log.last()
        assert_refused(scaled(cluster, 2), 4, "read-only replica")
        assert cluster.log.last() == end
        client.execute_command("REPLICAOF", "NO", "ONE")
    assert_goes_on(cluster, 2)


def test_a_log_server_without_memory_refuses_writes_and_says_what_to_do(cluster: Cluster):
    with log_client(cluster) as client:
        limit = client.config_get("maxmemory")["maxmemory"]
        client.config_set("maxmemory", "100000")
        end = cluster.log.last()
        ran = scaled(cluster, 1)
        assert_refused(ran, 3, "memory")
        assert cluster.log.last() == end
        client.config_set("maxmemory", limit)
    assert_goes_on(cluster, 1)


def test_a_slow_log_server_is_waited_for(cluster: Cluster):
    with log_client(cluster) as client:
        client.client_pause(2000)
        assert scaled(cluster, 2).code == 0
    assert_goes_on(cluster, 2)


def test_a_log_server_that_stands_still_is_named_and_the_command_can_be_sent_again(cluster: Cluster):
    """What became of the first attempt is not known: under its command id it is carried out once."""
    pid, before = cluster.pid_of("log"), cluster.container_pids()
    os.kill(pid, signal.SIGSTOP)
    ran = scaled(cluster, 1, "--command-id", "unsure")
    os.kill(pid, signal.SIGCONT)
    assert_refused(ran, 4, "the log's server cannot be reached")
    again = scaled(cluster, 1, "--command-id", "unsure")
    assert again.code == 0, again.err
    wait_for(lambda: len(cluster.containers()) == 1, "db-1 to end")
    assert cluster.container_pids() == {"db-0": before["db-0"]}
    assert cluster.pid_of("log") == pid
    assert_whole(cluster)


# --- servers of others


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """Start a log server with these settings and a queue server, both with a password; return their variables."""
    with ExitStack() as running:

        def start(*settings: str) -> dict[str, str]:
            urls = {}
            for name, arguments in (("LOG", settings), ("QUEUE", ())):
                (tmp_path / name).mkdir()
                server = running.enter_context(running_server(tmp_path / name, *arguments))
                with server.client() as client:
                    client.config_set("requirepass", PASSWORD)
                urls[f"CHRONOSET_{name}_URL"] = f"unix://:{PASSWORD}@{quote(str(server.socket))}"
            return urls

        yield start


DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--maxmemory-policy", "noeviction")


def test_a_password_of_an_external_server_is_never_shown(
    tmp_path: Path, servers: Callable[..., dict[str, str]]
):
    """Not in the record, a log file, a process title, an error, a pod's environment or the log itself."""
    with running_cluster(tmp_path / "data", 1, **servers(*DURABLE)) as cluster:
        cluster.apply(a_set(1))
        assert cluster.run("rollout", "status", "sts/db").code == 0
        assert_whole(cluster)
        assert sorted(cluster.members()) == [
            "agents",
            "api",
            "dispatcher",
            "historian",
            "projector",
            "worker-1",
            "worker-2",
        ]
        wrong = cluster.environ["CHRONOSET_LOG_URL"].replace(PASSWORD, f"{PASSWORD}-wrong")
        refused = cluster.run(
            "scale", "sts/db", "--replicas", "2", CHRONOSET_LOG_URL=wrong, CHRONOSET_DIRECT="1"
        )
        assert refused.code == 3 and "refuses this user" in refused.err, refused
        outputs = [refused, *(cluster.run(word) for word in ("env", "doctor"))]
        alone = cluster.run("get", "pods", CHRONOSET_LOG_URL="", CHRONOSET_QUEUE_URL="")
        assert alone.code == 2 and "CHRONOSET_LOG_URL: is not set" in alone.err, alone
        outputs.append(alone)
        commands = [each.command for each in processes_of(cluster.data_dir)]
        commands += [Path(f"/proc/{cluster.pid_of(name)}/cmdline").read_text() for name in cluster.members()]
        environments = [str(each.environ) for each in cluster.containers().values()]
        entries = b"".join(entry.data for entry in cluster.log.read(0, 10_000))
        files = [path for path in cluster.data_dir.rglob("*") if path.is_file()]
        assert [str(ran) for ran in outputs if PASSWORD in str(ran)] == []
        assert [text for text in [*commands, *environments] if PASSWORD in text] == []
        assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
        assert PASSWORD.encode() not in entries and len(environments) == 1
        code, said = cluster.stop()
        assert code == 0 and PASSWORD not in said


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        (("--appendonly", "no"), "the log server has appendonly no, and could lose history"),
        (("--appendonly", "yes", "--appendfsync", "everysec"), "(or start with --durability everysec)"),
        ((*DURABLE[:4], "--maxmemory-policy", "allkeys-lru"), "maxmemory-policy allkeys-lru"),
    ],
)
def test_an_external_log_server_that_could_forget_is_refused(
    tmp_path: Path, servers: Callable[..., dict[str, str]], settings: tuple[str, ...], reason: str
):
    """One line that names the setting and the way out; `--durability everysec` is the way out for everysec alone."""
    cluster = Cluster(tmp_path / "data", 1, servers(*settings))
    try:
        cluster.start()
        code, said = cluster.ended()
        assert (code, said.count("\n"), reason in said, PASSWORD in said) == (3, 1, True, False), said
        if "everysec" in settings:
            cluster.start_and_wait("--durability", "everysec")
            assert cluster.stop()[0] == 0
    finally:
        cluster.clean_up()
