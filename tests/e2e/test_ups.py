"""`chronoset up` in the foreground: Ctrl-C, a second one on the same directory or beside it, fsync before answers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from events.log import Batch, Draft
from events.memory import wall_clock
from events.redis_log import RedisLog
from services.connections import connect
from services.servers import ServerPlan, find_server, launch, stop, wait_until_loaded
from services.settings import Durability
from services.sockets import make_socket_dir, remove_socket_dir, socket_dir_of
from tests.e2e.clusters import Cluster, a_set, assert_nothing_left, assert_whole, running_cluster, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.server]


def test_a_cluster_that_is_interrupted_ends_its_pods_and_carries_on_when_started_again(tmp_path: Path):
    """Exit code 0 and no process left; then the same pods, uids and revisions, each with a new process."""
    with running_cluster(tmp_path / "data") as cluster:
        cluster.apply(a_set(2))
        assert cluster.run("rollout", "status", "sts/db").code == 0
        cluster.members()
        uids = {name: pod["metadata"]["uid"] for name, pod in cluster.pods().items()}
        code, _ = cluster.stop(signal.SIGINT)
        assert code == 0
        assert cluster.containers() == {}
        assert cluster.run("get", "pods").code == 2

        cluster.start_and_wait()
        wait_for(lambda: len(cluster.containers()) == 2, "the pods to run again")
        assert_whole(cluster)
        assert {name: pod["metadata"]["uid"] for name, pod in cluster.pods().items()} == uids
        cluster.roll_out("2")
        assert_whole(cluster)


def test_a_second_up_on_the_same_directory_is_refused_and_one_beside_it_is_not(tmp_path: Path):
    """The refusal names the first one's pid; the pods of two clusters have different addresses."""
    with running_cluster(tmp_path / "one", 1) as one:
        second = Cluster(one.data_dir)
        second.start()
        code, said = second.ended()
        assert one.up is not None
        assert (code, f"already (pid {one.up.pid})" in said, said.count("\n")) == (2, True, 1), said
        assert one.is_up()

        with running_cluster(tmp_path / "two", 1) as two:
            for cluster in (one, two):
                cluster.apply(a_set(2))
            for cluster in (one, two):
                assert cluster.run("rollout", "status", "sts/db").code == 0
                assert_whole(cluster)
            addresses = [pod["status"]["podIP"] for cluster in (one, two) for pod in cluster.pods().values()]
            assert len(set(addresses)) == 4
            two.members()
            assert two.run("down", "--delete-data").code == 0
            two.ended()
            assert_nothing_left(two)
        assert_whole(one)


@pytest.mark.skipif(shutil.which("strace") is None, reason="no strace here: fsync calls cannot be counted")
def test_the_log_server_calls_fdatasync_between_each_request_and_its_answer(tmp_path: Path):
    """Seen from the kernel: with `always`, no append is answered before what it wrote is on disk."""
    sockets = socket_dir_of(tmp_path, os.environ)
    make_socket_dir(sockets)
    plan = ServerPlan("log", tmp_path / "log", sockets / "log.sock", tmp_path / "log.txt", Durability.ALWAYS)
    server = launch(plan, find_server())
    trace, appends = tmp_path / "trace", 20
    try:
        wait_until_loaded(plan, server.poll, lambda _: None)
        log = RedisLog(connect(plan.url, "test", retries=0), "e2e")
        log.create()
        log.append(a_batch("before"))
        calls = "trace=read,recvfrom,write,sendto,writev,sendmsg,fsync,fdatasync"
        words = ["strace", "-f", "-qq", "-s", "80", "-e", calls, "-o", str(trace), "-p", str(server.pid)]
        with (tmp_path / "said").open("wb") as said:
            tracer = subprocess.Popen(words, stdout=said, stderr=said)
        try:
            wait_for(lambda: tracer.poll() is not None or is_traced(server.pid), "strace to attach")
            if tracer.poll() is not None:
                pytest.skip(f"strace is not allowed here: {(tmp_path / 'said').read_text().strip()}")
            for number in range(appends):
                log.append(a_batch(f"append-{number}"))
        finally:
            tracer.send_signal(signal.SIGINT)
            tracer.wait(10)
        log.close()
    finally:
        stop(plan, server)
        remove_socket_dir(sockets)
    told = story_of(trace.read_text())
    assert re.fullmatch(rf"(QS+A){{{appends}}}", told), told


def a_batch(command: str) -> Batch:
    draft = Draft(f"core/configmaps/default/{command}", "ConfigMapCreated", b"x", False)
    return Batch((draft,), {}, (), command, "", wall_clock())


def story_of(trace: str) -> str:
    """Return what was traced as letters: Q a request to append, S a sync that succeeded, A an answer to an append."""
    told = ""
    for line in trace.splitlines():
        if re.search(r"(read|recvfrom)\(.*EVALSHA", line):
            told += "Q"
        elif re.search(r"(fdatasync|fsync)\(.*= 0$", line) or re.search(
            r"<\.\.\. f(data)?sync resumed>.*= 0$", line
        ):
            told += "S"
        elif re.search(r"(write|sendto|writev|sendmsg)\(.*\\r\\nappended|(write|sendto)\(.*appended", line):
            told += "A"
    return told


def is_traced(pid: int) -> bool:
    return "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()
