"""The agents of `up` are clients of its API and of nothing else: no Redis, and an API that ends and comes back."""

from __future__ import annotations

import os
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from events.codec import decode
from schemas.event_types import condition_of
from schemas.kinds import NODE, POD
from schemas.objects import key_of, name_of
from services.node_protocol import IDENTITY_FILE
from services.processes import wait_until
from services.sockets import socket_dir_of
from tests.e2e.clusters import Cluster, a_set, assert_whole, temporary_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server]
REDIS, NODES_SOCKET = {"log.sock", "queue.sock"}, "nodes.sock"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with temporary_cluster() as cluster:
        cluster.apply(a_set())
        assert cluster.run("rollout", "status", "sts/db").code == 0
        yield cluster


def test_agents_reach_no_redis_whenever_they_are_started(cluster: Cluster) -> None:
    """Those that are started again are forked by a supervisor that reaches the log itself."""
    assert reached_by(cluster.pid_of("api")) >= REDIS
    assert not REDIS & reached_by(cluster.pid_of("zygote"))
    for _ in range(2):
        wait_for(lambda: NODES_SOCKET in names_of(cluster.pid_of("agents")), "the agents to have begun")
        assert not REDIS & reached_by(cluster.pid_of("agents"))
        kill_and_wait(cluster, "agents")


def test_agents_work_though_the_sockets_of_redis_are_out_of_their_reach(cluster: Cluster) -> None:
    """Started again, they find their pods, restart a container, and say so; the others have their connections."""
    views, before = cluster.views, cluster.container_pids()
    restarts = restarts_of("db-1", views.list(POD.resource))
    with out_of_reach(cluster):
        kill_and_wait(cluster, "agents")
        os.kill(before["db-1"], signal.SIGKILL)
        wait_for(
            lambda: restarts_of("db-1", views.list(POD.resource)) == restarts + 1,
            "db-1 to be restarted, and the cluster to know",
        )
        assert {name: cluster.container_pids()[name] for name in ("db-0", "db-2")} == {
            name: before[name] for name in ("db-0", "db-2")
        }
    assert_whole(cluster)


def test_an_api_that_is_killed_ends_no_pod_and_makes_no_node_not_ready(cluster: Cluster) -> None:
    before, position = cluster.container_pids(), cluster.log.last()
    for _ in range(3):
        kill_and_wait(cluster, "api", awaited=False)
    os.kill(before["db-2"], signal.SIGKILL)
    wait_until(lambda: cluster.members()["api"].state == "running", 30)
    cluster.write("scale", "sts/db", "--replicas", "4", "--wait")

    wait_for(lambda: len(cluster.container_pids()) == 4, "all four to run")
    after = cluster.container_pids()
    assert {name for name in before if after[name] == before[name]} == {"db-0", "db-1"}
    since = [decode(entry) for entry in cluster.log.read(position, 10_000)]
    assert [event.type for event in since if event.key.startswith(f"{NODE.resource}/")] == []
    assert {condition_of(node, "Ready") for node in cluster.replayed().list(NODE.resource)} == {"True"}
    cluster.write("scale", "sts/db", "--replicas", "3", "--wait")
    assert_whole(cluster)


def test_agents_that_are_started_before_the_api_answers_wait_without_a_word(cluster: Cluster) -> None:
    log = (cluster.data_dir / "logs" / "agents.log").read_text()
    assert "holding still" not in log.partition("program started")[2].partition("program started")[0]


def test_each_node_has_an_identity_of_its_own_that_nobody_else_can_read(cluster: Cluster) -> None:
    files = [cluster.data_dir / "nodes" / node / IDENTITY_FILE for node in ("n1", "n2")]
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert len({file.read_bytes() for file in files}) == 2
    event = next(
        event
        for event in map(decode, cluster.log.read(0, 10_000))
        if event.key == key_of(NODE.resource, "", "n1")
    )
    assert (event.actor.name, event.actor.authenticated) == ("node:n1", "cert")


@contextmanager
def out_of_reach(cluster: Cluster) -> Iterator[None]:
    """Put the sockets of the log's and the queue's server where nobody finds them; connections that are open stay."""
    folder = socket_dir_of(cluster.data_dir, os.environ)
    for name in REDIS:
        (folder / name).rename(folder / f"away-{name}")
    try:
        yield
    finally:
        for name in REDIS:
            (folder / f"away-{name}").rename(folder / name)


def kill_and_wait(cluster: Cluster, name: str, awaited: bool = True) -> None:
    """Kill a program and wait until it is started again; `awaited`: until it runs."""
    killed = cluster.pid_of(name)
    os.kill(killed, signal.SIGKILL)

    def is_back() -> bool:
        member = cluster.members()[name]
        is_new = member.process is not None and member.process.pid != killed
        return is_new and (member.state == "running" or not awaited)

    wait_for(is_back, f"{name} to be started again")


def restarts_of(name: str, pods: list[dict[str, object]]) -> int:
    statuses = next(pod for pod in pods if name_of(pod) == name)["status"]
    return int(statuses["containerStatuses"][0]["restartCount"])  # type: ignore[index]


def reached_by(pid: int) -> set[str]:
    """Return the names of the unix sockets at the other ends of a process' connections."""
    sockets = unix_sockets()
    peers = (sockets[inode][1] for inode in inodes_of(pid) if inode in sockets)
    return {Path(sockets[peer][0]).name for peer in peers if peer in sockets}


def names_of(pid: int) -> set[str]:
    """Return the names of a process' own unix sockets."""
    sockets = unix_sockets()
    return {Path(sockets[inode][0]).name for inode in inodes_of(pid) if inode in sockets}


def inodes_of(pid: int) -> set[int]:
    """Return the inodes of a process' sockets."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            target = os.readlink(descriptor)
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def unix_sockets() -> dict[int, tuple[str, int]]:
    """Return the path and the peer of every unix socket of this machine, by inode (sock_diag(7))."""
    name, peer, dump = 1, 4, 0x301
    request = struct.pack(
        "=BBHIIIII", socket.AF_UNIX, 0, 0, 0xFFFFFFFF, 0, name | peer, 0xFFFFFFFF, 0xFFFFFFFF
    )
    found: dict[int, tuple[str, int]] = {}
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 4) as netlink:
        netlink.send(struct.pack("=IHHII", 16 + len(request), 20, dump, 1, 0) + request)
        while True:
            data = netlink.recv(1 << 16)
            while data:
                length, kind = struct.unpack_from("=IH", data)
                if kind != 20:
                    return found
                found |= dict([_socket_of(data[16:length])])
                data = data[(length + 3) & ~3 :]


def _socket_of(message: bytes) -> tuple[int, tuple[str, int]]:
    (inode,) = struct.unpack_from("=I", message, 4)
    path, peer, rest = "", 0, message[16:]
    while rest:
        length, kind = struct.unpack_from("=HH", rest)
        value = rest[4:length]
        if kind == 0:
            path = value.rstrip(b"\0").decode(errors="replace")
        elif kind == 2:
            (peer,) = struct.unpack("=I", value)
        rest = rest[(length + 3) & ~3 :]
    return inode, (path, peer)
