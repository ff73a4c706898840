"""`chronoset logs` and `chronoset exec` as people use them: real pods, real terminals, real signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import termios
from collections.abc import Iterator
from typing import Any

import pytest

from schemas.objects import Object
from tests.e2e.clusters import PATIENCE, Cluster, _chronoset, running_cluster, wait_for
from tests.e2e.test_terminals import Terminal

pytestmark = [pytest.mark.e2e, pytest.mark.server]

DB = "echo first; test -e go && echo again; while :; do sleep 0.05; test -e crash && rm crash && exit 3; done"


def a_set_of_two() -> Object:
    """A set `db` of two pods with two containers each: one prints and can be made to crash, one prints once."""
    containers = [
        {
            "name": "db",
            "image": "host:1",
            "command": ["sh", "-c", DB],
            "env": [{"name": "COLOUR", "value": "blue"}],
        },
        {"name": "side", "image": "host:1", "command": ["sh", "-c", "echo side; exec sleep 100000"]},
    ]
    spec = {"terminationGracePeriodSeconds": 1, "containers": containers}
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": {"name": "db"},
        "spec": {
            "serviceName": "db",
            "replicas": 2,
            "selector": {"matchLabels": {"app": "db"}},
            "template": {"metadata": {"labels": {"app": "db"}}, "spec": spec},
        },
    }


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running_cluster(tmp_path_factory.mktemp("people"), 2) as cluster:
        cluster.apply(a_set_of_two())
        assert cluster.run("rollout", "status", "sts/db").code == 0
        yield cluster


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    terminal = Terminal()
    yield terminal
    terminal.close()


def settings_of(terminal: Terminal) -> list[Any]:
    return termios.tcgetattr(terminal._slave)


def running(cluster: Cluster, *arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(_chronoset(*arguments), env=cluster.environ, **options)


# --- logs


def test_logs_of_a_pod_its_containers_and_its_siblings(cluster: Cluster) -> None:
    one = cluster.run("logs", "db-0")
    assert (one.code, one.out) == (0, "first\n")
    assert 'Defaulted container "db" out of: db, side' in one.err
    assert cluster.run("logs", "db-0", "-c", "side").out == "side\n"
    assert cluster.run("logs", "db-0", "--all-containers").out == "first\nside\n"
    selected = cluster.run("logs", "-l", "app=db", "--all-containers", "--prefix").out
    assert selected.split("\n") == [
        f"[pod/db-{n}/{line}" for n in (0, 1) for line in ("db] first", "side] side")
    ] + [""]
    assert cluster.run("logs", "sts/db").out == "first\n"
    assert cluster.run("logs", "db-0", "--tail", "0").out == ""
    assert cluster.run("logs", "db-0", "--since", "1h", "--timestamps").out.endswith("Z first\n")
    assert cluster.run("logs", "db-0", "--since-time", "2999-01-01T00:00:00Z").out == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["db-9"], 'pods "db-9" not found'),
        (["db-0", "-c", "no"], "--container: 'no' is not in pod db-0; write one of db, side"),
        (["db-0", "--since", "x"], "--since: 'x' is no duration"),
        (["db-0", "--since-time", "noon"], "--since-time: 'noon' is no RFC 3339 time"),
        (["db-0", "--since", "1m", "--since-time", "2026-01-01T00:00:00Z"], "leave out one"),
        (["db-0", "-l", "app=db"], "--selector: a name is one pod"),
        (["db-0", "-c", "db", "--all-containers"], "--all-containers: a container is named as well"),
        (["-l", "app=db", "--all-containers", "-f", "--max-log-requests", "3"], "4 logs are to be followed"),
        (["db-0", "-c", "side", "-p"], 'previous terminated container "side" in pod "db-0" not found'),
    ],
)
def test_a_log_that_cannot_be_shown_says_why_on_one_line(
    cluster: Cluster, arguments: list[str], said: str
) -> None:
    ran = cluster.run("logs", *arguments)
    assert ran.code == 2 and ran.out == ""
    assert said in ran.err and len([line for line in ran.err.splitlines() if "error" in line]) == 1


def test_following_ends_with_the_container_and_the_run_before_is_kept(cluster: Cluster) -> None:
    follower = running(cluster, "logs", "db-1", "-c", "db", "-f", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"first\n"
    assert cluster.run("exec", "db-1", "--", "touch", "go", "crash").code == 0
    assert follower.wait(PATIENCE) == 0
    follower.stdout.close()
    wait_for(
        lambda: cluster.run("logs", "db-1", "-c", "db").out == "first\nagain\n", "the second run to print"
    )
    assert cluster.run("logs", "db-1", "-c", "db", "--previous").out == "first\n"


def test_a_follower_ends_with_control_c(cluster: Cluster) -> None:
    follower = running(cluster, "logs", "db-0", "-c", "db", "-f", stdout=subprocess.PIPE)
    assert follower.stdout is not None
    assert follower.stdout.readline() == b"first\n"
    follower.send_signal(signal.SIGINT)
    assert follower.wait(PATIENCE) == 130
    follower.stdout.close()


# --- exec


def test_exec_passes_streams_and_the_exit_code(cluster: Cluster) -> None:
    ran = cluster.run(
        "exec", "db-0", "-c", "db", "--", "sh", "-c", "echo $COLOUR-$POD_NAME; echo low >&2; exit 7"
    )
    assert (ran.code, ran.out) == (7, "blue-db-0\n")
    assert ran.err == "low\ncommand terminated with exit code 7\n"
    assert cluster.run("exec", "-i", "db-0", "--", "wc", "-c", text="x" * 300_000).out.strip() == "300000"
    assert cluster.run("exec", "db-0", "--", "cat", text="nobody reads this").out == ""


def test_exec_says_why_it_cannot(cluster: Cluster) -> None:
    missing = cluster.run("exec", "-q", "db-0", "--", "no-such-thing")
    assert missing.code == 1
    assert 'exec: "no-such-thing": executable file not found in $PATH' in missing.err
    assert cluster.run("exec", "db-9", "--", "true").code == 2
    assert "'no' is not in pod db-0" in cluster.run("exec", "db-0", "-c", "no", "--", "true").err
    piped = cluster.run("exec", "-it", "db-0", "--", "cat", text="through\n")
    assert piped.out == "through\n" and "Unable to use a TTY" in piped.err


def test_a_shell_on_a_terminal_resizes_is_interrupted_and_gives_the_terminal_back(
    cluster: Cluster, terminal: Terminal
) -> None:
    before = settings_of(terminal)
    terminal.resize(90, 31)
    shell = terminal.run("exec", "-it", "db-0", "-c", "db", "--", "sh", environ=cluster.environ)
    terminal.type("stty size; echo $TERM\n")
    wait_for(lambda: terminal.shows("31 90"), "the size at the start")
    assert settings_of(terminal) != before
    terminal.resize(66, 22)
    shell.send_signal(signal.SIGWINCH)
    wait_for(lambda: (terminal.type("stty size\n"), terminal.shows("22 66"))[1], "the size after the change")
    terminal.type("sh -c 'echo begun-$((6 * 7)); exec sleep 1000'\n")
    wait_for(lambda: terminal.shows("begun-42"), "what Ctrl-C ends")
    terminal.type("\x03")
    terminal.type("echo still-$((40 + 2))\n")
    wait_for(lambda: terminal.shows("still-42"), "the shell after Ctrl-C")
    terminal.type("exit 5\n")
    assert shell.wait(PATIENCE) == 5
    assert settings_of(terminal) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_is_given_back_when_exec_is_ended(
    cluster: Cluster, terminal: Terminal, number: signal.Signals
) -> None:
    before = settings_of(terminal)
    shell = terminal.run("exec", "-it", "db-0", "-c", "db", "--", "sh", environ=cluster.environ)
    terminal.type("echo pid-$$-\n")
    wait_for(lambda: terminal.shows("pid-") and "$$" not in terminal.written.split("pid-")[-1], "the shell")
    pid = int(terminal.written.split("pid-")[-1].split("-")[0])
    shell.send_signal(number)
    assert shell.wait(PATIENCE) == -number
    assert settings_of(terminal) == before
    wait_for(lambda: not os.path.exists(f"/proc/{pid}"), "the shell to end")


def test_a_command_ends_with_the_pod_and_with_the_agents(cluster: Cluster) -> None:
    """And exec says that it does not know how it ended, where the node's server is gone."""
    asleep = ("exec", "-q", "db-1", "-c", "side", "--", "sh", "-c", "echo up; exec sleep 1000")
    first = running(cluster, *asleep, stdout=subprocess.PIPE)
    assert first.stdout is not None and first.stdout.readline() == b"up\n"
    assert cluster.run("delete", "pod", "db-1").code == 0
    assert first.wait(PATIENCE) == 137
    first.stdout.close()
    assert cluster.run("rollout", "status", "sts/db").code == 0
    wait_for(
        lambda: cluster.run("exec", "-q", "db-1", "-c", "side", "--", "true").code == 0, "db-1 to be back"
    )
    second = running(cluster, *asleep, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert second.stdout is not None and second.stdout.readline() == b"up\n"
    os.kill(cluster.pid_of("agents"), signal.SIGKILL)
    _, said = second.communicate(timeout=PATIENCE)
    assert second.returncode == 4 and b"was lost, and with it how the command ended" in said
    wait_for(lambda: cluster.run("logs", "db-0", "-c", "side").out == "side\n", "the agents to serve again")


def test_the_node_says_where_its_server_is(cluster: Cluster) -> None:
    node = json.loads(cluster.run("get", "node", "n1", "-o", "json").out)
    assert node["metadata"]["annotations"]["chronoset.dev/server-socket"] == "nodes.sock"
